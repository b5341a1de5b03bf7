// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A case on the host CPU.
 *
 * The case's pages are one memfd, mapped with the case's permissions at both
 * fixed addresses, and once more, writable, wherever there is room (the back
 * door). What a signal handler needs lives in the context page, whose address
 * is fixed, so nothing here is global.
 */
#include <asm/ldt.h>
#include <asm/prctl.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

#include "tests/cpu-diff/diff.h"

struct native {
	int fd;
	uint8_t *back; /* the whole file, writable */
	struct native_ctx *ctx;
	void *altstack;
	bool has_ldt;
	struct sigaction old[NSIG];
};

struct native_ctx {
	uint64_t gpr[16];
	uint64_t rflags, fs_base, gs_base, pad0;
	uint64_t frame[5]; /* rip cs rflags rsp ss */
	uint16_t sel[6], pad1[2];
	uint32_t far_off;
	uint16_t far_sel, pad2;
	uint64_t host_rsp, host_fs, host_gs;
	uint32_t in_guest, xmask;
	void (*fault_fn)(int sig, siginfo_t *info, void *uc);
	int (*alarm_fn)(int sig, siginfo_t *info, void *uc);
	void (*crash_fn)(int sig, siginfo_t *info, void *uc);
	/* The handlers' own. */
	uint64_t vector, error, cr2, rip;
	uint32_t ticks;
	uint32_t by_call; /* no FSGSBASE: arch_prctl(2) moves FS's and GS's base */
	void (*tick)(void *opaque);
	void *tick_opaque;
	struct native *native;
	uint64_t alarm_fs;
	uint8_t pad4[NCTX_XSAVE - 352];
	uint8_t xsave[2048] __attribute__((aligned(64)));
};
#define AT(field, off) _Static_assert(offsetof(struct native_ctx, field) == (off), #field)
AT(rflags, NCTX_RFLAGS);
AT(frame, NCTX_FRAME);
AT(sel, NCTX_SEL);
AT(far_off, NCTX_FAR);
AT(host_rsp, NCTX_HOST_RSP);
AT(in_guest, NCTX_IN_GUEST);
AT(xmask, NCTX_XMASK);
AT(fault_fn, NCTX_FAULT_FN);
AT(crash_fn, NCTX_CRASH_FN);
AT(by_call, NCTX_BY_CALL);
AT(alarm_fs, NCTX_ALARM_FS);
AT(xsave, NCTX_XSAVE);
#undef AT

extern const uint8_t native_stub_begin[], native_stub_end[];
extern const uint8_t native_stub_enter_iret[], native_stub_enter_far[];
extern const uint8_t native_stub_on_fault[], native_stub_on_alarm[];

static const int caught[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS };

static struct native_ctx *ctx_page(void)
{
	return (struct native_ctx *)(uintptr_t)(DIFF_LOW + DIFF_CTX);
}

static void *stub_entry(const uint8_t *sym)
{
	return (void *)((uintptr_t)DIFF_LOW + DIFF_STUB + (uintptr_t)(sym - native_stub_begin));
}

/* ucontext's order (sys/ucontext.h) to the instruction set's. */
static const uint8_t greg_of[16] = {
	REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
	REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15,
};

static void on_fault(int sig, siginfo_t *info, void *context)
{
	const ucontext_t *uc = context;
	const greg_t *g = uc->uc_mcontext.gregs;
	struct native_ctx *x = ctx_page();

	for (unsigned n = 0; n < 16; n++)
		x->gpr[n] = (uint64_t)g[greg_of[n]];
	x->rip = (uint64_t)g[REG_RIP];
	x->rflags = (uint64_t)g[REG_EFL];
	x->vector = sig == SIGSYS ? 256 : (uint64_t)g[REG_TRAPNO];
	x->error = (uint64_t)g[REG_ERR];
	x->cr2 = (uint64_t)g[REG_CR2];
	x->sel[X86_CS] = (uint16_t)g[REG_CSGSFS];
	x->sel[X86_SS] = (uint16_t)(g[REG_CSGSFS] >> 48);
	memcpy(x->xsave, uc->uc_mcontext.fpregs, 832);
}

/* A fault outside a case belongs to whoever caught it before (an engine that lets
 * the host compute takes SIGFPE); else it is the harness's own and kills it. */
static void on_crash(int sig, siginfo_t *info, void *context)
{
	const struct sigaction *old = &ctx_page()->native->old[sig];
	const ucontext_t *uc = context;
	char text[120];
	int n;

	if ((old->sa_flags & SA_SIGINFO) && old->sa_sigaction) {
		old->sa_sigaction(sig, info, context);
		return;
	}
	n = snprintf(text, sizeof(text), "cpu-diff: signal %d (vector %d) outside a case, at "
			 "%#llx\n", sig, (int)uc->uc_mcontext.gregs[REG_TRAPNO],
			 (unsigned long long)uc->uc_mcontext.gregs[REG_RIP]);

	if (write(2, text, (size_t)n) != n)
		_exit(3);
	signal(sig, SIG_DFL);
}

static int on_alarm(int sig, siginfo_t *info, void *context)
{
	struct native_ctx *x = ctx_page();

	if (x->tick)
		x->tick(x->tick_opaque);
	return x->in_guest && ++x->ticks >= 3;
}

static int map_pages(struct native *n, uint64_t base, struct err *err)
{
	static const struct { uint32_t off, len; int prot; uint32_t at; } part[] = {
		{ DIFF_PG_RW0 * 4096, 0x2000, PROT_READ | PROT_WRITE },
		{ DIFF_PG_RO * 4096, 0x1000, PROT_READ },
		{ DIFF_PG_RW2 * 4096, 0x1000, PROT_READ | PROT_WRITE },
		{ DIFF_PG_STACK * 4096, 0x2000, PROT_READ | PROT_WRITE },
		{ DIFF_PG_CODE * 4096, DIFF_CODE_LEN, PROT_READ | PROT_EXEC },
		{ DIFF_STUB, 0x1000, PROT_READ | PROT_EXEC, DIFF_FILE_STUB },
		{ DIFF_CTX, 0x2000, PROT_READ | PROT_WRITE, DIFF_FILE_CTX },
	};

	for (size_t k = 0; k < array_size(part); k++) {
		void *want = (void *)(uintptr_t)(base + part[k].off);
		void *p = mmap(want, part[k].len, part[k].prot,
			       MAP_SHARED | MAP_FIXED_NOREPLACE | MAP_POPULATE, n->fd,
			       part[k].at ? part[k].at : part[k].off);

		if (p != want) /* also what a kernel without the flag does */
			return err_set(err, -EBUSY, "cannot map test memory at %p: %s", want,
				       p == MAP_FAILED ? strerror(errno) : "address in use");
	}
	return 0;
}

static void unmap_pages(uint64_t base)
{
	munmap((void *)(uintptr_t)base, DIFF_REGION);
	munmap((void *)(uintptr_t)(base + DIFF_STUB), 0x3000);
}

static bool load_ldt(void)
{
	for (unsigned k = 0; k < DIFF_NLDT; k++) {
		const struct diff_desc *s = &diff_ldt[k];
		struct user_desc u = {
			.entry_number = k, .base_addr = s->base, .limit = s->limit,
			.seg_32bit = s->seg32, .contents = s->contents,
			.read_exec_only = s->read_exec_only, .limit_in_pages = s->pages,
			.seg_not_present = s->not_present,
		};

		if (syscall(SYS_modify_ldt, 0x11, &u, sizeof(u)))
			return false;
	}
	return true;
}

static void catch_signals(struct native *n)
{
	struct sigaction sa = { .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };
	stack_t ss = { .ss_sp = n->altstack, .ss_size = 65536 };
	struct itimerval tv = { { 0, 100000 }, { 0, 100000 } };

	sigaltstack(&ss, NULL);
	sa.sa_sigaction = (void (*)(int, siginfo_t *, void *))stub_entry(native_stub_on_fault);
	for (size_t k = 0; k < array_size(caught); k++)
		sigaction(caught[k], &sa, &n->old[caught[k]]);
	sa.sa_sigaction = (void (*)(int, siginfo_t *, void *))stub_entry(native_stub_on_alarm);
	sa.sa_flags |= SA_RESTART;
	sigaction(SIGALRM, &sa, &n->old[SIGALRM]);
	setitimer(ITIMER_REAL, &tv, NULL);
}

/* A case may jump into the middle of an instruction and find a system call there:
 * from the case's pages each is turned into SIGSYS. Without seccomp it is merely
 * unlikely. */
static void forbid_syscalls(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, instruction_pointer)),
		BPF_STMT(BPF_ALU | BPF_AND | BPF_K, ~(uint32_t)(DIFF_REGION - 1)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, DIFF_LOW, 0, 4),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, instruction_pointer) + 4),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(DIFF_HIGH >> 32), 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { .len = array_size(code), .filter = code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0)
		prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog);
}

static uint32_t xsave_mask(void)
{
	uint32_t lo, hi, a = 0xd, b, c = 0, d;

	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	return lo & 7;
}

struct native *native_new(struct err *err)
{
	struct native *n = calloc(1, sizeof(*n));
	uint32_t access, limit;

	if (!n)
		goto no_memory;
	n->fd = memfd_create("cpu-diff", MFD_CLOEXEC);
	if (n->fd < 0 || ftruncate(n->fd, DIFF_FILE_LEN)) {
		err_set(err, -errno, "cannot make a memory file: %s", strerror(errno));
		goto fail;
	}
	n->back = mmap(NULL, DIFF_FILE_LEN, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
		       n->fd, 0);
	n->altstack = malloc(65536);
	if (n->back == MAP_FAILED || !n->altstack)
		goto no_memory;
	if (map_pages(n, DIFF_LOW, err) || map_pages(n, DIFF_HIGH, err))
		goto fail;
	memcpy(n->back + DIFF_FILE_STUB, native_stub_begin,
	       (size_t)(native_stub_end - native_stub_begin));
	diff_fill_ro(n->back + DIFF_PG_RO * 4096);
	n->ctx = ctx_page();
	n->ctx->xmask = xsave_mask();
	n->ctx->native = n;
	n->ctx->fault_fn = on_fault;
	n->ctx->alarm_fn = on_alarm;
	n->ctx->crash_fn = on_crash;
	n->ctx->by_call = !(getauxval(AT_HWCAP2) & 2); /* HWCAP2_FSGSBASE */
	syscall(SYS_arch_prctl, ARCH_GET_FS, &n->ctx->host_fs);
	syscall(SYS_arch_prctl, ARCH_GET_GS, &n->ctx->host_gs);
	/* A kernel may take descriptors that the processor never sees. */
	n->has_ldt = load_ldt() && native_selector(DIFF_SEL_DS16, &access, &limit);
	catch_signals(n);
	forbid_syscalls();
	return n;
no_memory:
	err_set(err, -ENOMEM, "not enough memory for the test's pages");
fail:
	native_free(n);
	return NULL;
}

void native_free(struct native *n)
{
	struct itimerval off = { { 0 } };
	stack_t ss = { .ss_flags = SS_DISABLE };

	if (!n)
		return;
	if (n->ctx) {
		setitimer(ITIMER_REAL, &off, NULL);
		for (size_t k = 0; k < array_size(caught); k++)
			sigaction(caught[k], &n->old[caught[k]], NULL);
		sigaction(SIGALRM, &n->old[SIGALRM], NULL);
		sigaltstack(&ss, NULL);
		unmap_pages(DIFF_LOW);
		unmap_pages(DIFF_HIGH);
	}
	free(n->altstack);
	if (n->back && n->back != MAP_FAILED)
		munmap(n->back, DIFF_FILE_LEN);
	if (n->fd >= 0)
		close(n->fd);
	free(n);
}

bool native_has_mode(const struct native *n, unsigned mode)
{
	uint32_t access, limit;

	if (mode == X86_MODE_64)
		return true;
	return n->has_ldt && native_selector(DIFF_SEL_CS32, &access, &limit);
}

bool native_is_real(const struct native *n)
{
	return n->has_ldt;
}

bool native_has_fsgsbase(const struct native *n)
{
	return !n->ctx->by_call;
}

void native_set_tick(struct native *n, void (*tick)(void *opaque), void *opaque)
{
	n->ctx->tick_opaque = opaque;
	n->ctx->tick = tick;
}

bool native_selector(uint16_t sel, uint32_t *access, uint32_t *limit)
{
	uint32_t s = sel;
	uint8_t ok;

	*access = *limit = 0;
	__asm__ volatile("lar %2, %0; setz %1" : "+r"(*access), "=q"(ok) : "r"(s) : "cc");
	if (ok)
		__asm__ volatile("lsl %2, %0; setz %1" : "+r"(*limit), "=q"(ok) : "r"(s) : "cc");
	return ok;
}

static void load_state(struct native_ctx *x, const struct diff_case *d)
{
	const struct diff_regs *r = &d->init;

	memcpy(x->gpr, r->gpr, sizeof(x->gpr));
	x->rflags = r->rflags;
	x->fs_base = r->fs_base;
	x->gs_base = r->gs_base;
	memcpy(x->sel, r->sel, sizeof(x->sel));
	x->frame[0] = r->rip;
	x->frame[1] = r->sel[X86_CS];
	x->frame[2] = r->rflags;
	x->frame[3] = r->gpr[X86_RSP];
	x->frame[4] = r->sel[X86_SS];
	x->far_off = (uint32_t)r->rip;
	x->far_sel = r->sel[X86_CS];
	x->ticks = 0;
	diff_fpu_to_xsave(&r->fpu, x->xsave, x->xmask);
}

static void store_state(const struct native_ctx *x, struct diff_regs *r)
{
	memset(r, 0, sizeof(*r));
	memcpy(r->gpr, x->gpr, sizeof(r->gpr));
	r->rflags = x->rflags;
	r->fs_base = x->fs_base;
	r->gs_base = x->gs_base;
	memcpy(r->sel, x->sel, sizeof(r->sel));
	diff_fpu_from_xsave(&r->fpu, x->xsave);
}

void native_run(struct native *n, const struct diff_case *d, struct diff_result *r)
{
	struct native_ctx *x = n->ctx;
	int (*enter)(void) = (int (*)(void))stub_entry(
		d->mode == X86_MODE_16 ? native_stub_enter_far : native_stub_enter_iret);

	for (unsigned k = 0; k < DIFF_NRW; k++)
		memcpy(n->back + diff_rw_pages[k] * 4096, d->mem + k * 4096, 4096);
	memcpy(n->back + DIFF_PG_CODE * 4096, d->code, DIFF_CODE_LEN);
	load_state(x, d);
	switch (enter()) {
	case 0: r->end = DIFF_EXIT; break;
	case 1: r->end = DIFF_FAULT; break;
	default: r->end = DIFF_TIMEOUT; break;
	}
	store_state(x, &r->regs);
	r->vector = r->error = r->stray = 0;
	r->cr2 = 0;
	if (r->end == DIFF_FAULT && x->vector == 256)
		r->end = DIFF_TIMEOUT; /* a stray jump into a system call: nothing to compare */
	if (r->end == DIFF_FAULT) {
		r->vector = (unsigned)x->vector;
		r->error = (uint32_t)x->error;
		r->cr2 = r->vector == X86_EXC_PF ? x->cr2 : 0;
		r->regs.rip = x->rip;
	} else {
		r->regs.rip = diff_base(d) + DIFF_STUB;
		r->regs.sel[X86_CS] = DIFF_SEL_CS64;
	}
	for (unsigned k = 0; k < DIFF_NRW; k++)
		memcpy(r->mem + k * 4096, n->back + diff_rw_pages[k] * 4096, 4096);
}
