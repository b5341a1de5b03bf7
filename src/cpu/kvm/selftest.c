/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The self-test's guest: 2 MiB, long mode, four programs. Each ends in HLT; one that
 * does not within its time is stopped by a timer of this thread.
 */
#include "src/cpu/kvm/selftest.h"

#include <errno.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "src/base/bits.h"

#define RAM_LEN 0x200000u
enum { PML4 = 0x1000, PDPT = 0x2000, PD = 0x3000, PT = 0x4000, GDT = 0x5000, IDT = 0x6000,
       TSS = 0x7000, CODE = 0x8000, RESULT = 0x14000, PAGE = 0x20000, ABSENT = 0x1f0000,
       STACK = 0x12000 };
/* A program's length of life; and what hardware does in far less. */
#define LIMIT_NS 200000000
#define LOOPS 20000000u
/* No processor of this century is slower than this, nested or not; software is. */
#define HARDWARE_IPS 40000000u
#define STOP_SIGNAL (SIGRTMIN + 4)

extern const uint8_t kvm_selftest_code[], kvm_selftest_end[];
extern const uint8_t kvm_selftest_loop[], kvm_selftest_syscall[], kvm_selftest_entry[],
	kvm_selftest_paging[], kvm_selftest_fault[], kvm_selftest_cx16[];

/* RESULT's words: 0 the entry's CS, then 0x600d; paging: the PTE, CR2, error code. */
__asm__(
	".pushsection .rodata\n"
	".balign 16\n"
	".globl kvm_selftest_code, kvm_selftest_end, kvm_selftest_loop, kvm_selftest_syscall\n"
	".globl kvm_selftest_entry, kvm_selftest_paging, kvm_selftest_fault, kvm_selftest_cx16\n"
	"kvm_selftest_code:\n"
	"kvm_selftest_loop:\n"
	"	mov $20000000, %ecx\n"
	"1:	dec %ecx\n"
	"	jnz 1b\n"
	"	hlt\n"
	"	jmp .\n"
	"kvm_selftest_syscall:\n"
	"	pushq $0x23\n"		/* SS, user */
	"	pushq $0x11800\n"	/* RSP */
	"	pushq $2\n"
	"	pushq $0x2b\n"		/* CS, user */
	"	lea 2f(%rip), %rax\n"
	"	push %rax\n"
	"	iretq\n"
	"2:	mov $1, %eax\n"
	"	syscall\n"
	"	mov $2, %eax\n"		/* back, and once more */
	"	syscall\n"
	"	jmp .\n"
	"kvm_selftest_entry:\n"
	"	xor %ebx, %ebx\n"
	"	mov %cs, %bx\n"
	"	mov %rbx, 0x14000\n"
	"	cmp $2, %eax\n"
	"	je 3f\n"
	"	sysretq\n"
	"3:	movq $0x600d, 0x14008\n"
	"	hlt\n"
	"	jmp .\n"
	"kvm_selftest_paging:\n"
	"	movq $1, 0x20000\n"
	"	mov 0x4100, %rax\n"	/* its PTE */
	"	mov %rax, 0x14000\n"
	"	movq $0, 0x14018\n"
	"	mov 0x1f0000, %rax\n"	/* not present: the handler skips it (8 bytes) */
	"	movq $0x600d, 0x14018\n"
	"	hlt\n"
	"	jmp .\n"
	"kvm_selftest_fault:\n"
	"	mov %cr2, %rax\n"
	"	mov %rax, 0x14008\n"
	"	pop %rax\n"
	"	mov %rax, 0x14010\n"
	"	addq $8, (%rsp)\n"
	"	iretq\n"
	"kvm_selftest_cx16:\n"
	"	mov $0x14000, %edi\n"
	"	mov $1, %eax\n"
	"	mov $2, %edx\n"
	"	mov %rax, (%rdi)\n"
	"	mov %rdx, 8(%rdi)\n"
	"	mov $3, %ebx\n"
	"	mov $4, %ecx\n"
	"	lock cmpxchg16b (%rdi)\n"	/* succeeds: memory is 3, 4 */
	"	setz %sil\n"
	"	lock cmpxchg16b (%rdi)\n"	/* fails: RAX, RDX are 3, 4 */
	"	setz %ch\n"
	"	movzx %sil, %esi\n"
	"	movzx %ch, %ecx\n"
	"	mov %rsi, 0x14010\n"
	"	mov %rcx, 0x14018\n"
	"	mov %rax, 0x14020\n"
	"	mov %rdx, 0x14028\n"
	"	hlt\n"
	"	jmp .\n"
	"kvm_selftest_end:\n"
	".popsection\n");

struct test {
	int sys_fd, vm_fd, fd;
	uint8_t *ram;
	struct kvm_run *run;
	size_t run_len;
	timer_t timer;
	bool timer_made;
	char what[160]; /* what went wrong */
};

static uint64_t entry_of(const uint8_t *label)
{
	return CODE + (uint64_t)(label - kvm_selftest_code);
}

static void build_memory(struct test *t)
{
	uint8_t *m = t->ram;
	uint64_t fault = entry_of(kvm_selftest_fault);

	memset(m, 0, RAM_LEN);
	st_le64(m + PML4, PDPT | 7);
	st_le64(m + PDPT, PD | 7);
	st_le64(m + PD, PT | 7);
	for (unsigned n = 0; n < 512; n++)
		st_le64(m + PT + n * 8, (uint64_t)n << 12 | 7);
	st_le64(m + PT + (ABSENT >> 12) * 8, 0);
	st_le64(m + GDT + 0x08, 0x00af9b000000ffffull); /* code, ring 0 */
	st_le64(m + GDT + 0x10, 0x00cf93000000ffffull); /* data */
	st_le64(m + GDT + 0x18, 0x00cffb000000ffffull); /* 32-bit code, ring 3 */
	st_le64(m + GDT + 0x20, 0x00cff3000000ffffull); /* data */
	st_le64(m + GDT + 0x28, 0x00affb000000ffffull); /* code */
	st_le64(m + GDT + 0x30, 0x0000890000000067ull | (uint64_t)TSS << 16);
	st_le64(m + IDT + 14 * 16, (fault & 0xffff) | 0x08ull << 16 | 0x8e00ull << 32);
	st_le64(m + TSS + 4, STACK - 0x100); /* RSP0 */
	memcpy(m + CODE, kvm_selftest_code, (size_t)(kvm_selftest_end - kvm_selftest_code));
}

static bool fail(struct test *t, const char *what)
{
	snprintf(t->what, sizeof(t->what), "%s: %s", what, strerror(errno));
	return false;
}

static void on_stop(int sig)
{
}

static bool make_timer(struct test *t)
{
	struct sigevent ev = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = STOP_SIGNAL };
	struct sigaction sa = { .sa_handler = on_stop };

	ev._sigev_un._tid = (pid_t)syscall(SYS_gettid);
	sigaction(STOP_SIGNAL, &sa, NULL);
	if (timer_create(CLOCK_MONOTONIC, &ev, &t->timer) < 0)
		return fail(t, "no timer");
	t->timer_made = true;
	return true;
}

static bool make(struct test *t)
{
	struct kvm_userspace_memory_region r = { .memory_size = RAM_LEN };
	struct { struct kvm_cpuid2 head; struct kvm_cpuid_entry2 e[128]; } c = { 0 };
	int len;

	t->ram = mmap(NULL, RAM_LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (t->ram == MAP_FAILED) {
		t->ram = NULL;
		return fail(t, "no memory");
	}
	t->vm_fd = ioctl(t->sys_fd, KVM_CREATE_VM, 0);
	if (t->vm_fd < 0)
		return fail(t, "a virtual machine cannot be made");
	(void)ioctl(t->vm_fd, KVM_SET_TSS_ADDR, 0xfeffd000ul);
	r.userspace_addr = (uintptr_t)t->ram;
	if (ioctl(t->vm_fd, KVM_SET_USER_MEMORY_REGION, &r) < 0)
		return fail(t, "it takes no memory");
	t->fd = ioctl(t->vm_fd, KVM_CREATE_VCPU, 0);
	len = ioctl(t->sys_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (t->fd < 0 || len <= 0)
		return fail(t, "a virtual CPU cannot be made");
	t->run_len = (size_t)len;
	t->run = mmap(NULL, t->run_len, PROT_READ | PROT_WRITE, MAP_SHARED, t->fd, 0);
	if (t->run == MAP_FAILED) {
		t->run = NULL;
		return fail(t, "a virtual CPU cannot be made");
	}
	c.head.nent = 128;
	if (ioctl(t->sys_fd, KVM_GET_SUPPORTED_CPUID, &c) == 0)
		(void)ioctl(t->fd, KVM_SET_CPUID2, &c);
	return make_timer(t);
}

static void unmake(struct test *t)
{
	if (t->timer_made)
		timer_delete(t->timer);
	if (t->run)
		munmap(t->run, t->run_len);
	if (t->fd >= 0)
		close(t->fd);
	if (t->vm_fd >= 0)
		close(t->vm_fd);
	if (t->ram)
		munmap(t->ram, RAM_LEN);
}

static struct kvm_segment seg(uint16_t sel, uint8_t type, bool code)
{
	return (struct kvm_segment){ .limit = 0xffffffff, .selector = sel, .type = type,
				     .present = 1, .s = 1, .g = 1, .l = code, .db = !code };
}

static bool set_state(struct test *t, const uint8_t *label)
{
	struct kvm_sregs s;
	struct kvm_regs r = { .rip = entry_of(label), .rsp = STACK, .rflags = 2 };
	struct { struct kvm_msrs head; struct kvm_msr_entry e[3]; } m = { .head.nmsrs = 3 };

	if (ioctl(t->fd, KVM_GET_SREGS, &s) < 0)
		return fail(t, "registers cannot be read");
	s.cs = seg(0x08, 0xb, true);
	s.ds = s.es = s.ss = s.fs = s.gs = seg(0x10, 3, false);
	s.tr = (struct kvm_segment){ .base = TSS, .limit = 0x67, .selector = 0x30, .type = 0xb,
				     .present = 1 };
	s.gdt = (struct kvm_dtable){ .base = GDT, .limit = 0x3f };
	s.idt = (struct kvm_dtable){ .base = IDT, .limit = 0xfff };
	s.cr0 = 0x80010033;
	s.cr3 = PML4;
	s.cr4 = 0x220;
	s.efer = 0x501;
	m.e[0] = (struct kvm_msr_entry){ .index = 0xc0000081u,
					 .data = 0x1bull << 48 | 0x08ull << 32 };
	m.e[1] = (struct kvm_msr_entry){ .index = 0xc0000082u,
					 .data = entry_of(kvm_selftest_entry) };
	m.e[2] = (struct kvm_msr_entry){ .index = 0xc0000084u, .data = 0x300 };
	if (ioctl(t->fd, KVM_SET_SREGS, &s) < 0 || ioctl(t->fd, KVM_SET_REGS, &r) < 0 ||
	    ioctl(t->fd, KVM_SET_MSRS, &m) != 3)
		return fail(t, "registers cannot be set");
	return true;
}

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* Runs a program to its HLT. False, with t->what: it did not get there. *ns: how long
 * it ran. */
static bool run(struct test *t, const uint8_t *label, int64_t *ns)
{
	/* Again and again: a signal between two calls of KVM_RUN would be lost. */
	struct itimerspec every = { { 0, 5000000 }, { 0, LIMIT_NS } }, off = { { 0, 0 }, { 0, 0 } };
	int64_t start;
	int ret;

	build_memory(t);
	if (!set_state(t, label))
		return false;
	timer_settime(t->timer, 0, &every, NULL);
	start = now_ns();
	do
		ret = ioctl(t->fd, KVM_RUN, 0);
	while (ret < 0 && (errno == EINTR || errno == EAGAIN) && now_ns() - start < LIMIT_NS);
	*ns = now_ns() - start;
	timer_settime(t->timer, 0, &off, NULL);
	if (ret < 0 && (errno == EINTR || errno == EAGAIN)) {
		snprintf(t->what, sizeof(t->what), "it does not end");
		return false;
	}
	if (ret < 0)
		return fail(t, "it does not run");
	if (t->run->exit_reason == KVM_EXIT_HLT)
		return true;
	if (t->run->exit_reason == KVM_EXIT_INTERNAL_ERROR)
		snprintf(t->what, sizeof(t->what), "an instruction is not emulated");
	else
		snprintf(t->what, sizeof(t->what), "it ended with exit %u", t->run->exit_reason);
	return false;
}

static uint64_t result(const struct test *t, unsigned n)
{
	return ld_le64(t->ram + RESULT + n * 8);
}

static bool loop_test(struct test *t, struct kvm_report *r)
{
	struct kvm_regs regs = { 0 };
	int64_t ns;
	bool ended = run(t, kvm_selftest_loop, &ns);
	uint64_t left = 0;

	/* What was done until it was stopped counts as well. */
	if (!ended && strcmp(t->what, "it does not end") != 0)
		return false;
	if (!ended && ioctl(t->fd, KVM_GET_REGS, &regs) == 0)
		left = (uint32_t)regs.rcx;
	r->ring0_ips = 2ull * (LOOPS - min_of(left, (uint64_t)LOOPS)) * 1000000000ull /
		       (uint64_t)max_of(ns, (int64_t)1);
	return true;
}

static bool syscall_test(struct test *t)
{
	int64_t ns;

	if (!run(t, kvm_selftest_syscall, &ns))
		return false;
	if (result(t, 1) == 0x600d && result(t, 0) == 0x08)
		return true;
	snprintf(t->what, sizeof(t->what), "the kernel is entered with CS %#llx instead of 0x8",
		 (unsigned long long)result(t, 0));
	return false;
}

static bool paging_test(struct test *t)
{
	int64_t ns;

	if (!run(t, kvm_selftest_paging, &ns))
		return false;
	/* Present, writable, user, accessed, dirty; then the fault's address and code. */
	if ((result(t, 0) & 0x67) == 0x67 && result(t, 1) == ABSENT && result(t, 2) == 0 &&
	    result(t, 3) == 0x600d)
		return true;
	snprintf(t->what, sizeof(t->what), "the page tables or the page fault are wrong");
	return false;
}

static bool cx16_test(struct test *t)
{
	int64_t ns;

	if (!run(t, kvm_selftest_cx16, &ns))
		return false;
	if (result(t, 0) == 3 && result(t, 1) == 4 && result(t, 2) == 1 && result(t, 3) == 0 &&
	    result(t, 4) == 3 && result(t, 5) == 4)
		return true;
	snprintf(t->what, sizeof(t->what), "it compares or exchanges wrongly");
	return false;
}

static void wrong(struct kvm_report *r, struct test *t, const char *what)
{
	size_t len = strlen(r->why);

	snprintf(r->why + len, sizeof(r->why) - len, "%s%s (%s)", len ? "; " : "", what, t->what);
	if (r->verdict == KVM_GOOD)
		r->verdict = KVM_WRONG;
}

void kvm_selftest(int sys_fd, struct kvm_report *r)
{
	struct test t = { .sys_fd = sys_fd, .vm_fd = -1, .fd = -1 };

	r->verdict = KVM_GOOD;
	if (!make(&t) || !loop_test(&t, r)) {
		r->verdict = KVM_WRONG;
		snprintf(r->why, sizeof(r->why), "its test guest does not start (%s)", t.what);
		unmake(&t);
		return;
	}
	if (r->ring0_ips < HARDWARE_IPS) {
		r->verdict = KVM_EMULATING;
		snprintf(r->why, sizeof(r->why),
			 "it emulates: a kernel's loop runs at %llu.%llu million instructions a "
			 "second", (unsigned long long)(r->ring0_ips / 1000000),
			 (unsigned long long)(r->ring0_ips / 100000 % 10));
	}
	r->syscall_ok = syscall_test(&t);
	if (!r->syscall_ok)
		wrong(r, &t, "SYSCALL fails");
	r->paging_ok = paging_test(&t);
	if (!r->paging_ok)
		wrong(r, &t, "paging fails");
	r->cmpxchg16b_ok = cx16_test(&t);
	if (!r->cmpxchg16b_ok)
		wrong(r, &t, "CMPXCHG16B fails");
	unmake(&t);
}
