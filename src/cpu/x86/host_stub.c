/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Stubs: the table, the code memory and the SIGFPE handler. Emission is in
 * host_emit.c. */
#include "src/cpu/x86/host_stub.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "src/base/bits.h"
#include "src/cpu/x86/host_emit.h"

#define CODE_BYTES (32u << 20) /* address space; pages come as they are used */
#define BUCKETS    4096u

struct stub {
	uint64_t key;
	const void *fn;
	struct stub *next;
};

struct host_stubs {
	_Atomic unsigned refs;
	_Atomic unsigned count;
	uint8_t *rw, *rx; /* one memfd, twice */
	size_t used;      /* under lock */
	pthread_mutex_t lock;
	_Atomic(struct stub *) bucket[BUCKETS];
};

/*
 * #XM in a stub. Stateless: a stub that may raise holds HOST_EMIT_MAGIC in R11 and
 * the address after its instruction in R10. The destination is unchanged and
 * MXCSR in the frame has the flags as hardware left them (they raise nothing by
 * themselves), so it is enough to go on behind the instruction with R11 zero.
 */
static void on_sigfpe(int sig, siginfo_t *info, void *ctx)
{
	ucontext_t *uc = ctx;
	greg_t *r = uc->uc_mcontext.gregs;
	uint64_t rip = (uint64_t)r[REG_RIP], resume = (uint64_t)r[REG_R10];

	if ((uint64_t)r[REG_R11] == HOST_EMIT_MAGIC && resume - rip - 1 < X86_MAX_INSN) {
		r[REG_RIP] = (greg_t)resume;
		r[REG_R11] = 0;
		return;
	}
	/* Not ours: let it happen again with the default action. */
	signal(SIGFPE, SIG_DFL);
}

static int install_handler(void)
{
	struct sigaction sa = { .sa_sigaction = on_sigfpe, .sa_flags = SA_SIGINFO | SA_ONSTACK };

	sigemptyset(&sa.sa_mask);
	return sigaction(SIGFPE, &sa, NULL);
}

/* Maps the code memory at two addresses. -1: errno. */
static int map_code(struct host_stubs *s)
{
	int e, fd = memfd_create("bothy-host-stubs", MFD_CLOEXEC);
	uint8_t *rw = MAP_FAILED, *rx = MAP_FAILED;

	if (fd < 0)
		return -1;
	if (!ftruncate(fd, CODE_BYTES))
		rw = mmap(NULL, CODE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (rw != MAP_FAILED)
		rx = mmap(NULL, CODE_BYTES, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
	e = errno;
	close(fd);
	if (rx == MAP_FAILED) {
		if (rw != MAP_FAILED)
			munmap(rw, CODE_BYTES);
		errno = e;
		return -1;
	}
	s->rw = rw;
	s->rx = rx;
	return 0;
}

struct host_stubs *host_stubs_new(void)
{
	struct host_stubs *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	if (map_code(s)) {
		free(s);
		return NULL;
	}
	pthread_mutex_init(&s->lock, NULL);
	atomic_init(&s->refs, 1);
	s->used = host_emit_header(s->rw);
	if (install_handler()) {
		host_stubs_free(s);
		return NULL;
	}
	return s;
}

struct host_stubs *host_stubs_get(struct host_stubs *s)
{
	atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
	return s;
}

void host_stubs_free(struct host_stubs *s)
{
	if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (unsigned k = 0; k < BUCKETS; k++) {
		struct stub *e = atomic_load_explicit(&s->bucket[k], memory_order_relaxed), *next;

		for (; e; e = next) {
			next = e->next;
			free(e);
		}
	}
	munmap(s->rw, CODE_BYTES);
	munmap(s->rx, CODE_BYTES);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

static unsigned bucket_of(uint64_t key)
{
	return (unsigned)(key * 0x9e3779b97f4a7c15ull >> 52) % BUCKETS;
}

static const void *find(struct host_stubs *s, uint64_t key)
{
	struct stub *e = atomic_load_explicit(&s->bucket[bucket_of(key)], memory_order_acquire);

	for (; e; e = e->next)
		if (e->key == key)
			return e->fn;
	return NULL;
}

/* Makes the stub unless another thread just did. NULL: no memory for it. */
static const void *make(struct host_stubs *s, uint64_t key, const struct host_emit_what *w)
{
	const void *fn;
	struct stub *e;
	size_t len;

	pthread_mutex_lock(&s->lock);
	fn = find(s, key);
	e = fn ? NULL : malloc(sizeof(*e));
	if (e) {
		unsigned b = bucket_of(key);

		/* Every encoding there is takes less than a third of it. */
		assert(s->used + HOST_EMIT_MAX <= CODE_BYTES);
		len = host_emit(w, s->rw + s->used, s->used);
		fn = s->rx + s->used;
		s->used = align_up(s->used + len, 16);
		*e = (struct stub){ .key = key,
				    .fn = fn,
				    .next = atomic_load_explicit(&s->bucket[b],
								 memory_order_relaxed) };
		atomic_store_explicit(&s->bucket[b], e, memory_order_release);
		atomic_fetch_add_explicit(&s->count, 1, memory_order_relaxed);
	}
	pthread_mutex_unlock(&s->lock);
	return fn;
}

host_vec_fn host_stub_vec(struct host_stubs *s, const struct x86_insn *i)
{
	struct host_emit_what w;
	uint64_t key;
	const void *fn;

	host_emit_plan(i, &w);
	key = (uint64_t)i->row->id << 16 | (uint64_t)w.imm << 8 | (uint64_t)w.vl << 1 | w.w;
	fn = find(s, key);
	return (host_vec_fn)(uintptr_t)(fn ? fn : make(s, key, &w));
}

host_x87_fn host_stub_x87(struct host_stubs *s, uint8_t opcode, uint8_t modrm)
{
	/* Memory: through the third argument, RDX. */
	uint8_t m = modrm >= 0xc0 ? modrm : (modrm & 0x38) | 2;
	struct host_emit_what w = { .x87_opcode = opcode, .x87_modrm = m };
	uint64_t key = 1ull << 63 | (uint64_t)opcode << 8 | m;
	const void *fn = find(s, key);

	return (host_x87_fn)(uintptr_t)(fn ? fn : make(s, key, &w));
}

host_x87s_fn host_stub_x87_single(struct host_stubs *s, unsigned shape, uint8_t opcode,
				  uint8_t modrm)
{
	struct host_emit_what w = { .x87_opcode = opcode,
				    .x87_modrm = modrm,
				    .x87_shape = (uint8_t)shape };
	uint64_t key = 1ull << 63 | (uint64_t)shape << 16 | (uint64_t)opcode << 8 | modrm;
	const void *fn = find(s, key);

	return (host_x87s_fn)(uintptr_t)(fn ? fn : make(s, key, &w));
}

unsigned host_stubs_count(struct host_stubs *s)
{
	return atomic_load_explicit(&s->count, memory_order_relaxed);
}
