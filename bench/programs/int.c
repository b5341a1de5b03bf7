/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Integer work: calls, memory, sorting, and a mixed kernel of lists, matrices,
 * a state machine and a checksum. */
#include "bench/programs/bench.h"

static uint64_t __attribute__((noinline)) fib(unsigned n)
{
	return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

/* Ten instructions a turn, nothing but registers: the figure for speed alone. */
static uint64_t counted(unsigned n)
{
	uint64_t a = 1, b = 2, c = 3, turns = (uint64_t)n * 1000000;

	__asm__ volatile("1: add %1, %0\n"
			 "	xor %0, %2\n"
			 "	lea 3(%0,%1,2), %1\n"
			 "	shr $1, %2\n"
			 "	sub %2, %0\n"
			 "	and $0xffffff, %1\n"
			 "	mov %0, %%rdx\n"
			 "	or $1, %%rdx\n"
			 "	dec %3\n"
			 "	jnz 1b"
			 : "+r"(a), "+r"(b), "+r"(c), "+r"(turns) :: "rdx", "cc");
	return a ^ b ^ c;
}

static uint64_t sieve(unsigned n)
{
	uint8_t *composite = calloc(n, 1);
	uint64_t primes = 0;

	if (!composite)
		exit(1);
	for (uint64_t i = 2; i < n; i++) {
		if (composite[i])
			continue;
		primes++;
		for (uint64_t j = i * i; j < n; j += i)
			composite[j] = 1;
	}
	free(composite);
	return primes;
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static uint64_t sorting(unsigned n)
{
	uint32_t *v = need(n * sizeof(*v)), seed = 12345;
	uint64_t sum = 0;

	for (unsigned i = 0; i < n; i++)
		v[i] = rnd(&seed);
	qsort(v, n, sizeof(*v), by_value);
	for (unsigned i = 1; i < n; i++)
		sum += v[i - 1] <= v[i] ? (uint64_t)v[i] * (i & 15) : ~0u;
	free(v);
	return sum;
}

/* One long cycle through 4 MiB. */
static uint64_t chase(unsigned n)
{
	enum { NODES = (4 << 20) / 64 };
	struct node { struct node *next; uint64_t value, pad[6]; } *nodes = need(NODES * sizeof(*nodes));
	uint32_t *order = need(NODES * sizeof(*order)), seed = 99;
	uint64_t sum = 0;

	for (unsigned i = 0; i < NODES; i++)
		order[i] = i;
	for (unsigned i = NODES - 1; i > 0; i--) {
		unsigned j = rnd(&seed) % i, t = order[i];

		order[i] = order[j];
		order[j] = t;
	}
	for (unsigned i = 0; i < NODES; i++) {
		nodes[order[i]].next = &nodes[order[(i + 1) % NODES]];
		nodes[order[i]].value = i;
	}
	struct node *at = nodes;
	for (uint64_t i = 0; i < (uint64_t)n * 1000; i++) {
		sum += at->value;
		at = at->next;
	}
	free(nodes);
	free(order);
	return sum;
}

static uint32_t __attribute__((noinline)) op_add(uint32_t a) { return a + 7; }
static uint32_t __attribute__((noinline)) op_xor(uint32_t a) { return a ^ 0x55; }
static uint32_t __attribute__((noinline)) op_mul(uint32_t a) { return a * 5; }
static uint32_t __attribute__((noinline)) op_rot(uint32_t a) { return a << 3 | a >> 29; }

static uint64_t indirect(unsigned n)
{
	uint32_t (*const ops[4])(uint32_t) = { op_add, op_xor, op_mul, op_rot };
	uint32_t v = 1;

	for (uint64_t i = 0; i < (uint64_t)n * 1000; i++)
		v = ops[(v >> 4 ^ i) & 3](v);
	return v;
}

static uint64_t copy(unsigned n)
{
	enum { LEN = 8 << 20 };
	uint8_t *a = need(LEN), *b = need(LEN);
	uint64_t sum = 0;

	for (unsigned i = 0; i < LEN; i++)
		a[i] = i * 7;
	for (unsigned i = 0; i < n; i++) {
		a[i] = i;
		memcpy(b, a, LEN);
		opaque(b);
		sum += b[i] + b[LEN - 1 - i];
	}
	free(a);
	free(b);
	return sum;
}

static uint64_t scan(unsigned n)
{
	enum { LEN = 1 << 20 };
	char *text = need(LEN);
	uint64_t sum = 0;

	memset(text, 'a', LEN);
	for (unsigned i = 0; i < n; i++) {
		text[LEN - 1 - i % 64] = 0;
		opaque(text);
		sum += strlen(text);
		sum += (char *)memchr(text, 0, LEN) - text;
		text[LEN - 1 - i % 64] = 'a';
	}
	free(text);
	return sum;
}

/* The mixed kernel. */
struct item { struct item *next; int16_t key, data; };

static struct item *list_reverse(struct item *l)
{
	struct item *r = NULL;

	while (l) {
		struct item *next = l->next;

		l->next = r;
		r = l;
		l = next;
	}
	return r;
}

static struct item *list_merge(struct item *a, struct item *b)
{
	struct item head = { NULL, 0, 0 }, *tail = &head;

	while (a && b) {
		struct item **least = a->key <= b->key ? &a : &b;

		tail->next = *least;
		tail = *least;
		*least = (*least)->next;
	}
	tail->next = a ? a : b;
	return head.next;
}

static struct item *list_sort(struct item *l, unsigned n)
{
	struct item *half = l, *rest;

	if (n < 2)
		return l;
	for (unsigned i = 1; i < n / 2; i++)
		half = half->next;
	rest = half->next;
	half->next = NULL;
	return list_merge(list_sort(l, n / 2), list_sort(rest, n - n / 2));
}

static uint16_t crc16(uint16_t crc, uint16_t data)
{
	for (unsigned i = 0; i < 16; i++, data >>= 1)
		crc = (crc ^ data) & 1 ? crc >> 1 ^ 0xa001 : crc >> 1;
	return crc;
}

static uint16_t lists(uint32_t *seed)
{
	struct item items[100], *l = NULL;
	uint16_t crc = 0;

	for (unsigned i = 0; i < 100; i++) {
		items[i] = (struct item){ l, (int16_t)(rnd(seed) & 0xfff), (int16_t)i };
		l = &items[i];
	}
	l = list_sort(list_reverse(l), 100);
	for (struct item *i = l; i; i = i->next)
		if (i->key & 1)
			crc = crc16(crc, (uint16_t)(i->key ^ i->data));
	return crc;
}

static uint16_t matrices(uint32_t *seed)
{
	int16_t a[12][12], b[12][12];
	uint16_t crc = 0;

	for (unsigned i = 0; i < 144; i++) {
		a[i / 12][i % 12] = (int16_t)rnd(seed);
		b[i % 12][i / 12] = (int16_t)(rnd(seed) >> 8);
	}
	for (unsigned i = 0; i < 12; i++) {
		int32_t row = 0;

		for (unsigned j = 0; j < 12; j++) {
			int32_t sum = 0;

			for (unsigned k = 0; k < 12; k++)
				sum += a[i][k] * b[k][j] >> 3;
			row += sum;
		}
		crc = crc16(crc, (uint16_t)row);
	}
	return crc;
}

/* Counts numbers, words and faults in a line of text, a state at a time. */
static uint16_t machine(uint32_t *seed)
{
	static const char alphabet[] = "0123456789.e+-,abcx ";
	enum { START, INT, FRACTION, EXPONENT, WORD, FAULT } state = START;
	uint16_t seen[6] = { 0 }, crc = 0;

	for (unsigned i = 0; i < 300; i++) {
		char c = alphabet[rnd(seed) % (sizeof(alphabet) - 1)];

		seen[state]++;
		if (c == ',' || c == ' ')
			state = START;
		else if (c >= '0' && c <= '9')
			state = state == START ? INT : state;
		else if (c == '.')
			state = state == INT ? FRACTION : FAULT;
		else if (c == 'e')
			state = state == INT || state == FRACTION ? EXPONENT : WORD;
		else if (c == '+' || c == '-')
			state = state == START ? INT : state == EXPONENT ? EXPONENT : FAULT;
		else
			state = state == START || state == WORD ? WORD : FAULT;
	}
	for (unsigned i = 0; i < 6; i++)
		crc = crc16(crc, seen[i]);
	return crc;
}

static uint64_t mixed(unsigned n)
{
	uint32_t seed = 0x1234567;
	uint16_t crc = 0;

	for (unsigned i = 0; i < n; i++) {
		crc = crc16(crc, lists(&seed));
		crc = crc16(crc, matrices(&seed));
		crc = crc16(crc, machine(&seed));
	}
	return crc;
}

uint64_t mixed_work(unsigned n)
{
	return mixed(n);
}

const struct bench int_benches[] = {
	{ "counted", "10 instructions a turn, registers only", counted, 200, 4, NULL, 1e7 },
	{ "fib", "recursive calls, fib(n)", fib, 38, 27, NULL, 0 },
	{ "sieve", "sieve of n bytes", sieve, 20000000, 1000000, NULL, 0 },
	{ "qsort", "qsort of n uint32", sorting, 3000000, 100000, NULL, 0 },
	{ "chase", "pointer chase in 4 MiB", chase, 1000, 100, NULL, 0 },
	{ "indirect", "n thousand indirect calls", indirect, 50000, 1000, NULL, 0 },
	{ "memcpy", "memcpy of 8 MiB, n times", copy, 100, 3, NULL, 0 },
	{ "strlen", "strlen and memchr of 1 MiB, n times", scan, 200, 4, NULL, 0 },
	{ "mixed", "lists, matrices, state machine, checksum", mixed, 10000, 200, NULL, 0 },
	{ NULL },
};
