/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * RDMSR and WRMSR. Sources: SDM vol. 4; AMD APM vol. 2, appendix A; for
 * 0x4b564d00.. the Linux kernel's Documentation/virt/kvm/x86/msr.rst.
 *
 * MSRs that guests touch but that have no meaning here read as what a virtual
 * machine usually shows and ignore harmless writes. Anything else is #GP, and a
 * line in the log.
 */
#include "src/cpu/x86/msr.h"

#include <cpuid.h>
#include <errno.h>
#include <time.h>
#include <x86intrin.h>

#include "src/base/vtime.h"
#include "src/cpu/cpu.h"
#include "src/cpu/x86/apic.h"
#include "src/cpu/x86/tape.h"
#include "src/cpu/x86/cpuid.h"
#include "src/cpu/x86/sys.h"

enum {
	P5_MC_ADDR = 0x0, P5_MC_TYPE = 0x1, TSC = 0x10, KVM_WALL_OLD = 0x11, KVM_TIME_OLD = 0x12,
	PLATFORM_ID = 0x17, APIC_BASE = 0x1b, FEATURE_CONTROL = 0x3a, TSC_ADJUST = 0x3b,
	PRED_CMD = 0x49,
	BIOS_UPDT = 0x79, BIOS_SIGN_ID = 0x8b, PLATFORM_INFO = 0xce, ARCH_CAPABILITIES = 0x10a,
	MISC_FEATURES = 0x140, SYSENTER_CS = 0x174, SYSENTER_ESP = 0x175, SYSENTER_EIP = 0x176,
	MCG_CAP = 0x179, MCG_STATUS = 0x17a, MISC_ENABLE = 0x1a0, DEBUGCTL = 0x1d9,
	TSC_DEADLINE = 0x6e0, X2APIC_FIRST = 0x800, X2APIC_LAST = 0x8ff, XSS = 0xda0,
};
#define EFER 0xc0000080u
#define STAR 0xc0000081u
#define LSTAR 0xc0000082u
#define CSTAR 0xc0000083u
#define FMASK 0xc0000084u
#define FS_BASE 0xc0000100u
#define GS_BASE 0xc0000101u
#define KERNEL_GS_BASE 0xc0000102u
#define TSC_AUX 0xc0000103u
#define AMD_HWCR 0xc0010015u
#define AMD_PATCH_LEVEL 0x8bu
#define AMD_PATCH_LOADER 0xc0010020u
#define AMD_DE_CFG 0xc0011029u
#define KVM_WALL 0x4b564d00u
#define KVM_TIME 0x4b564d01u

/* HWCR.TscFreqSel: the TSC counts at the P0 rate, whatever P-state. */
#define HWCR_VALUE (1ull << 24)
/* DE_CFG: LFENCE is dispatch-serialising. */
#define DE_CFG_VALUE 0x2ull
/* What our processor does not leak: page rights are checked before data is
 * touched, and no buffers are shared with another guest's. RDCL_NO,
 * SKIP_L1DFL_VMENTRY, MDS_NO, PSCHANGE_MC_NO, TAA_NO, SBDR_SSDP_NO, FBSDP_NO,
 * PSDP_NO, BHI_NO, GDS_NO, RFDS_NO. */
#define ARCH_CAPS_VALUE 0x0c10e169ull

/* Read as zero; writes are ignored. */
static bool ignored(uint32_t msr)
{
	static const struct { uint32_t first, last; } ranges[] = {
		{ P5_MC_ADDR, P5_MC_TYPE },
		{ BIOS_UPDT, BIOS_UPDT },
		{ 0x1db, 0x1de },	    /* last branch from, to, exception */
		{ 0xc0010000u, 0xc0010007u }, /* K7 performance counters */
		{ 0xc0010010u, 0xc0010010u }, /* SYSCFG */
		{ 0xc001001au, 0xc001001au }, { 0xc001001du, 0xc001001du }, /* TOP_MEM, 2 */
		{ 0xc001001fu, 0xc001001fu }, /* NB_CFG */
		{ AMD_PATCH_LOADER, AMD_PATCH_LOADER },
		{ 0xc0010055u, 0xc0010055u }, /* interrupt pending */
		{ 0xc0010058u, 0xc0010058u }, /* MMIO configuration base */
		{ 0xc0010111u, 0xc0010114u }, /* SMBASE, SMM ranges, VM_CR */
		{ 0xc0010140u, 0xc0010141u }, /* OS-visible workarounds */
		{ 0xc0011020u, 0xc0011023u }, /* LS_CFG, IC_CFG, DC_CFG, BU_CFG */
		{ 0xc001102au, 0xc001102du }, /* BU_CFG2, CU_CFG.., EX_CFG, LS_CFG2 */
	};

	for (size_t n = 0; n < array_size(ranges); n++)
		if (msr >= ranges[n].first && msr <= ranges[n].last)
			return true;
	return false;
}

/* Probed by guests that expect the #GP: energy and frequency counters, a vendor's
 * register on the other's CPU. Not worth a line in the log. A write to PRED_CMD is how
 * Linux on an AMD processor asks for SBPB (init_amd()). */
static bool probed(uint32_t msr)
{
	static const uint32_t known[] = {
		0x34, 0x4e, 0xe7, 0xe8, 0x122, 0x198, 0x199, 0x1a2, 0x1ad, 0x345, 0x606, 0x611, 0x619,
		0x639, 0x641, 0x64d, 0x64e, 0x771, AMD_DE_CFG, 0xc00000e7u, 0xc00000e8u,
		0xc0010061u, 0xc0010063u, 0xc0010064u, 0xc0010299u, 0xc001029au, 0xc001029bu,
	};

	for (size_t n = 0; n < array_size(known); n++)
		if (msr == known[n])
			return true;
	return false;
}

void x86_msr_reset(struct x86_cpu *c)
{
	c->pat = 0x0007040600070406ull;
	c->mtrr_def = 0;
	memset(c->mtrr_fixed, 0, sizeof(c->mtrr_fixed));
	memset(c->mtrr_var, 0, sizeof(c->mtrr_var));
	c->misc_enable = 1; /* fast strings */
	c->tsc_adjust = 0;
	c->tsc_offset = 0; /* the same on every vCPU whenever it is reset */
	c->pv_system_time = c->pv_wall_clock = 0;
	c->pv_async = c->pv_steal = c->pv_eoi = c->pv_poll = 0;
}

/*
 * The TSC is the machine's clock at another rate, so that it stops, goes on and
 * moves between hosts with it, and agrees among vCPUs and with the paravirtual
 * clock by construction.
 */
uint64_t x86_tsc_hz(const struct x86_cpu *c)
{
	return c->cpus && c->cpus->tsc_hz ? c->cpus->tsc_hz : 1000000000u;
}

static int64_t now_ns(const struct x86_cpu *c)
{
	struct timespec ts;

	if (c->vtime)
		return vtime_now_ns(c->vtime);
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

uint64_t x86_rdtsc(struct x86_cpu *c)
{
	uint64_t v;

	if (x86_follows(c))
		return x86_tape_take(c, X86_TAPE_TIME, 0);
	v = x86_tsc_now(c);
	x86_tape_put(c, X86_TAPE_TIME, 0, v);
	return v;
}

uint64_t x86_tsc_now(const struct x86_cpu *c)
{
	uint64_t ns = (uint64_t)now_ns(c), hz = x86_tsc_hz(c);

	/* In two steps: no overflow below 18 GHz, no 128-bit division. */
	return ns / 1000000000 * hz + ns % 1000000000 * hz / 1000000000 + (uint64_t)c->tsc_offset;
}

void x86_tsc_adjust(struct x86_cpu *c, uint64_t delta)
{
	c->tsc_offset = (int64_t)((uint64_t)c->tsc_offset + delta);
	c->tsc_adjust += delta;
	x86_pvclock_update(c);
	if (c->apic && !x86_follows(c))
		apic_tsc_changed(c->apic);
}

/* A hypervisor above us may tell the rate in kHz, leaf 40000010H. */
static uint64_t hz_from_cpuid(void)
{
	uint32_t a, b, c, d, max;

	__cpuid(0, max, b, c, d);
	if (max >= 0x15) {
		__cpuid(0x15, a, b, c, d);
		if (a && b && c)
			return (uint64_t)c * b / a;
	}
	__cpuid(1, a, b, c, d);
	if (c >> 31) {
		__cpuid(0x40000000u, max, b, c, d);
		if (max >= 0x40000010u && max < 0x40010000u) {
			__cpuid(0x40000010u, a, b, c, d);
			return (uint64_t)a * 1000;
		}
	}
	return 0;
}

static int64_t raw_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_RAW, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* A TSC value and the clock's at the same moment: the tightest of a few tries,
 * as either read may be interrupted. */
static void sample(uint64_t *tsc, int64_t *ns)
{
	uint64_t best = UINT64_MAX;

	for (int n = 0; n < 8; n++) {
		uint64_t before = __rdtsc();
		int64_t t = raw_ns();
		uint64_t after = __rdtsc();

		if (after - before < best) {
			best = after - before;
			*tsc = before + (after - before) / 2;
			*ns = t;
		}
	}
}

uint64_t x86_host_tsc_hz(void)
{
	uint64_t hz = hz_from_cpuid(), tsc0 = 0, tsc1 = 0;
	const struct timespec pause = { .tv_nsec = 10000000 };
	int64_t ns0 = 0, ns1 = 0;

	if (hz >= 100000000u)
		return hz;
	sample(&tsc0, &ns0);
	nanosleep(&pause, NULL);
	sample(&tsc1, &ns1);
	if (ns1 <= ns0 || tsc1 <= tsc0)
		return 1000000000u;
	hz = (uint64_t)((double)(tsc1 - tsc0) * 1e9 / (double)(ns1 - ns0));
	return (hz + 500) / 1000 * 1000; /* guests count in kHz */
}

/*
 * Reading.
 */
static int read_apic(struct x86_cpu *c, uint32_t msr, uint64_t *val)
{
	int r;

	if (msr == TSC_DEADLINE && !x86_has(c, X86_F_TSC_DEADLINE))
		return -EINVAL;
	if (x86_follows(c)) {
		*val = x86_tape_take(c, X86_TAPE_MSR_R, msr);
		return x86_tape_take(c, X86_TAPE_MSR_R, msr) ? -EINVAL : 0;
	}
	r = c->apic ? apic_msr_read(c->apic, msr, val) : -EINVAL;
	x86_tape_put(c, X86_TAPE_MSR_R, msr, *val);
	x86_tape_put(c, X86_TAPE_MSR_R, msr, r != 0);
	return r;
}

static bool is_apic(uint32_t msr)
{
	return msr == APIC_BASE || msr == TSC_DEADLINE ||
	       (msr >= X2APIC_FIRST && msr <= X2APIC_LAST);
}

/* Long-mode and system-call registers. 1: not one of them. */
static int read_system(const struct x86_cpu *c, uint32_t msr, uint64_t *val)
{
	switch (msr) {
	case EFER: *val = c->efer; break;
	case STAR: *val = c->star; break;
	case LSTAR: *val = c->lstar; break;
	case CSTAR: *val = c->cstar; break;
	case FMASK: *val = c->fmask; break;
	case FS_BASE: *val = c->seg[X86_FS].base; break;
	case GS_BASE: *val = c->seg[X86_GS].base; break;
	case KERNEL_GS_BASE: *val = c->kernel_gs_base; break;
	case SYSENTER_CS: *val = c->sysenter_cs; break;
	case SYSENTER_ESP: *val = c->sysenter_esp; break;
	case SYSENTER_EIP: *val = c->sysenter_eip; break;
	default: return 1;
	}
	return 0;
}

/* Registers of one vendor only. */
static int read_vendor(const struct x86_cpu *c, uint32_t msr, uint64_t *val)
{
	if (c->amd) {
		switch (msr) {
		case AMD_HWCR: *val = HWCR_VALUE; return 0;
		case AMD_DE_CFG: *val = DE_CFG_VALUE; return 0;
		case AMD_PATCH_LEVEL: *val = 0x01000065; return 0;
		}
		return 1;
	}
	switch (msr) {
	case PLATFORM_ID: case PLATFORM_INFO: case MISC_FEATURES: case DEBUGCTL: *val = 0; return 0;
	case FEATURE_CONTROL: *val = 1; return 0; /* locked, nothing enabled */
	case BIOS_SIGN_ID: *val = 0x100000000ull; return 0;
	case MISC_ENABLE: *val = c->misc_enable; return 0;
	case ARCH_CAPABILITIES: *val = ARCH_CAPS_VALUE; return 0;
	}
	return 1;
}

int x86_rdmsr(struct x86_cpu *c, uint32_t msr, uint64_t *val)
{
	int r;

	*val = 0;
	if (is_apic(msr))
		return read_apic(c, msr, val);
	r = read_system(c, msr, val);
	if (r > 0)
		r = x86_mtrr_read(c, msr, val);
	if (r > 0)
		r = read_vendor(c, msr, val);
	if (r <= 0)
		return r;
	switch (msr) {
	case TSC: *val = x86_rdtsc(c); return 0;
	case TSC_ADJUST:
		*val = c->tsc_adjust;
		return x86_has(c, X86_F_TSC_ADJUST) ? 0 : -EINVAL;
	case TSC_AUX:
		*val = c->tsc_aux;
		return x86_has(c, X86_F_RDTSCP) ? 0 : -EINVAL;
	case XSS:
		*val = c->xss;
		return x86_has(c, X86_F_XSAVES) ? 0 : -EINVAL;
	case MCG_CAP: return 0; /* no banks */
	case MCG_STATUS: *val = c->mcg_status; return 0;
	case DEBUGCTL: return 0;
	case KVM_TIME: case KVM_TIME_OLD: *val = c->pv_system_time; return 0;
	case KVM_WALL: case KVM_WALL_OLD: *val = c->pv_wall_clock; return 0;
	}
	if (ignored(msr))
		return 0;
	if (!probed(msr))
		log_guest(c->log, &c->guest_log,
			  "vCPU %u: RDMSR of unknown register %#x at %#llx", c->index, msr,
			  (unsigned long long)c->start_rip);
	return -EINVAL;
}

/*
 * Writing.
 */
static int write_apic(struct x86_cpu *c, uint32_t msr, uint64_t val)
{
	int r;

	if (!c->apic || (msr == TSC_DEADLINE && !x86_has(c, X86_F_TSC_DEADLINE)))
		return -EINVAL;
	if (x86_follows(c)) {
		x86_tape_same(c, X86_TAPE_MSR_W, msr, val);
		r = x86_tape_take(c, X86_TAPE_MSR_W, msr) ? -EINVAL : 0;
	} else {
		x86_tape_put(c, X86_TAPE_MSR_W, msr, val);
		x86_tape_outside(c, true);
		r = apic_msr_write(c->apic, msr, val);
		x86_tape_outside(c, false);
		x86_tape_put(c, X86_TAPE_MSR_W, msr, r != 0);
	}
	if (r == 0 && msr == APIC_BASE) /* the register page may have moved */
		x86_tlb_flush_all(c);
	c->stop_block = true;
	return r;
}

static int write_efer(struct x86_cpu *c, uint64_t v)
{
	uint64_t valid = X86_EFER_SCE | X86_EFER_LME | X86_EFER_LMA, changed;

	if (x86_has(c, X86_F_NX))
		valid |= X86_EFER_NX;
	if (v & ~valid)
		return -EINVAL;
	v = (v & ~X86_EFER_LMA) | (c->efer & X86_EFER_LMA);
	changed = c->efer ^ v;
	if ((changed & X86_EFER_LME) && (c->cr0 & X86_CR0_PG))
		return -EINVAL;
	c->efer = v;
	if (changed & X86_EFER_NX)
		x86_tlb_flush_all(c);
	return 0;
}

static int write_address(uint64_t *reg, uint64_t v)
{
	if (!x86_canonical(v))
		return -EINVAL;
	*reg = v;
	return 0;
}

static int write_system(struct x86_cpu *c, uint32_t msr, uint64_t v)
{
	int r = 0;

	switch (msr) {
	case EFER: r = write_efer(c, v); break;
	case STAR: c->star = v; break;
	case LSTAR: r = write_address(&c->lstar, v); break;
	case CSTAR: r = write_address(&c->cstar, v); break;
	case FMASK: c->fmask = (uint32_t)v; break;
	case FS_BASE: r = write_address(&c->seg[X86_FS].base, v); break;
	case GS_BASE: r = write_address(&c->seg[X86_GS].base, v); break;
	case KERNEL_GS_BASE: r = write_address(&c->kernel_gs_base, v); break;
	case SYSENTER_CS: c->sysenter_cs = (uint32_t)v; break;
	case SYSENTER_ESP: r = write_address(&c->sysenter_esp, v); break;
	case SYSENTER_EIP: r = write_address(&c->sysenter_eip, v); break;
	default: return 1;
	}
	if (r == 0)
		x86_update_mode(c); /* a base may have become zero or not */
	return r;
}

static int write_vendor(struct x86_cpu *c, uint32_t msr, uint64_t v)
{
	if (c->amd) {
		switch (msr) {
		case AMD_HWCR: case AMD_DE_CFG: case AMD_PATCH_LEVEL: return 0;
		}
		return 1;
	}
	switch (msr) {
	case MISC_ENABLE: c->misc_enable = v; return 0;
	case BIOS_SIGN_ID: return 0; /* software clears it before CPUID reloads it */
	case PLATFORM_INFO: case MISC_FEATURES: return v ? -EINVAL : 0;
	case PLATFORM_ID: case FEATURE_CONTROL: case ARCH_CAPABILITIES: return -EINVAL;
	}
	return 1;
}

static int write_tsc_aux(struct x86_cpu *c, uint64_t v)
{
	if (!x86_has(c, X86_F_RDTSCP) || (v >> 32 && !c->amd))
		return -EINVAL;
	c->tsc_aux = (uint32_t)v;
	return 0;
}

int x86_wrmsr(struct x86_cpu *c, uint32_t msr, uint64_t val)
{
	int r;

	if (is_apic(msr))
		return write_apic(c, msr, val);
	r = write_system(c, msr, val);
	if (r > 0)
		r = x86_mtrr_write(c, msr, val);
	if (r > 0)
		r = write_vendor(c, msr, val);
	if (r <= 0)
		return r;
	switch (msr) {
	case TSC: x86_tsc_adjust(c, val - x86_rdtsc(c)); return 0;
	case TSC_ADJUST:
		if (!x86_has(c, X86_F_TSC_ADJUST))
			return -EINVAL;
		x86_tsc_adjust(c, val - c->tsc_adjust);
		return 0;
	case TSC_AUX: return write_tsc_aux(c, val);
	case XSS: return x86_has(c, X86_F_XSAVES) && !val ? 0 : -EINVAL;
	case MCG_CAP: return -EINVAL;
	case MCG_STATUS:
		if (val & ~7ull)
			return -EINVAL;
		c->mcg_status = val;
		return 0;
	case DEBUGCTL: return val & ~3ull ? -EINVAL : 0; /* LBR, BTF */
	case KVM_TIME: case KVM_TIME_OLD: x86_pvclock_system_time(c, val); return 0;
	case KVM_WALL: case KVM_WALL_OLD: x86_pvclock_wall_clock(c, val); return 0;
	}
	if (ignored(msr))
		return 0;
	if (!probed(msr) && msr != PRED_CMD)
		log_guest(c->log, &c->guest_log,
			  "vCPU %u: WRMSR of %#llx to unknown register %#x at %#llx", c->index,
			  (unsigned long long)val, msr, (unsigned long long)c->start_rip);
	return -EINVAL;
}
