/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The processor complex: vCPU threads, halting and waking, INIT and SIPI,
 * pausing, exclusive sections. The gate counts who is inside an engine; whoever
 * wants the complex for itself closes it and waits until nobody is.
 */
#include "src/cpu/cpu.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "src/base/bits.h"
#include "src/bus/bus.h"
#include "src/cpu/engines.h"
#include "src/cpu/placement.h"
#include "src/cpu/x86/access.h"
#include "src/cpu/x86/apic.h"
#include "src/cpu/x86/cpuid.h"
#include "src/cpu/x86/host_stub.h"
#include "src/cpu/x86/msr.h"
#include "src/cpu/x86/x86.h"

const struct engine_desc *const engines[] = {
#define ENGINE(name) &name##_engine,
#include "src/cpu/engines.def"
#undef ENGINE
	NULL,
};

struct x86_cpu *x86_cpu_new(struct mem *mem, struct bus *bus, struct vtime *vtime)
{
	struct x86_cpu *c = mmap(NULL, sizeof(*c), PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (c == MAP_FAILED)
		return NULL;
	c->mem = mem;
	c->bus = bus;
	c->vtime = vtime;
	c->stubs = host_stubs_new();
	if (!c->stubs) {
		munmap(c, sizeof(*c));
		return NULL;
	}
	x86_tlb_init(c);
	cpu_model_apply(cpu_model_default(), c);
	x86_reset(c, false);
	return c;
}

void x86_cpu_free(struct x86_cpu *c)
{
	if (!c)
		return;
	host_stubs_free(c->stubs);
	munmap(c, sizeof(*c));
}

/*
 * The gate.
 */
static void ask_all_to_leave(struct cpus *s, const struct vcpu *but)
{
	for (unsigned n = 0; n < s->count; n++)
		if (&s->vcpu[n] != but && s->vcpu[n].x86)
			vcpu_request(&s->vcpu[n], X86_REQ_EXIT);
}

/* These with s->gate held. */

/* It stopped last for a debugger, and another has not had its turn since. */
static bool goes_last(const struct cpus *s, const struct vcpu *v)
{
	if (!v->due || v->index != s->debug.last)
		return false;
	for (unsigned n = 0; n < s->count; n++)
		if (s->vcpu[n].due && n != v->index)
			return true;
	return false;
}

static void wait_open_locked(struct cpus *s, const struct vcpu *v)
{
	while ((s->paused || s->exclusive || v->held || goes_last(s, v)) && !s->stopping)
		pthread_cond_wait(&s->gate_changed, &s->gate);
}

static void enter_locked(struct cpus *s, struct vcpu *v)
{
	s->inside++;
	if (unlikely(v->due)) {
		v->due = false;
		pthread_cond_broadcast(&s->gate_changed);
	}
}

/* Is an engine still executing? Who has the complex to itself, or waits for that, is in the
 * middle of an instruction. */
static bool busy_locked(const struct cpus *s) { return s->inside || s->midway; }

static void leave_locked(struct cpus *s)
{
	s->inside--;
	pthread_cond_broadcast(&s->gate_changed);
}

void x86_exclusive_begin(struct x86_cpu *c)
{
	struct cpus *s = c->cpus;

	if (!s || s->count == 1)
		return;
	pthread_mutex_lock(&s->gate);
	s->exclusive++;
	s->midway++;
	leave_locked(s);
	ask_all_to_leave(s, c->vcpu);
	while (s->inside || s->owned)
		pthread_cond_wait(&s->gate_changed, &s->gate);
	s->owned = true;
	pthread_mutex_unlock(&s->gate);
}

void x86_exclusive_end(struct x86_cpu *c)
{
	struct cpus *s = c->cpus;

	if (!s || s->count == 1)
		return;
	pthread_mutex_lock(&s->gate);
	s->owned = false;
	s->exclusive--;
	pthread_cond_broadcast(&s->gate_changed);
	/* A pause that came meanwhile lets this instruction finish: the EXIT
	 * request makes the engine leave right after it. */
	while (s->exclusive)
		pthread_cond_wait(&s->gate_changed, &s->gate);
	s->midway--;
	s->inside++;
	pthread_mutex_unlock(&s->gate);
}

void vcpu_request(struct vcpu *v, uint32_t bits)
{
	uint32_t old;

	/* INIT forgets a SIPI that came before it. */
	if (bits & X86_REQ_INIT)
		atomic_fetch_and(&v->x86->request, ~(uint32_t)X86_REQ_SIPI);
	old = atomic_fetch_or(&v->x86->request, bits);
	x86_jit_stop(v->x86);
	if ((old & bits) == bits)
		return;
	if (atomic_load(&v->state) == VCPU_RUNNING) {
		if (v->cpus->engine->kick)
			v->cpus->engine->kick(v);
		return;
	}
	pthread_mutex_lock(&v->lock);
	pthread_cond_signal(&v->wake);
	pthread_mutex_unlock(&v->lock);
}

/*
 * One vCPU's thread.
 */
static void sync(struct vcpu *v)
{
	if (v->cpus->engine->sync)
		v->cpus->engine->sync(v);
}

static void take_init(struct vcpu *v)
{
	struct x86_cpu *c = v->x86;

	sync(v);
	x86_reset(c, true);
	apic_reset(c->apic, true);
	c->halted = false;
	c->wait_sipi = c->index != 0;
}

static void take_sipi(struct vcpu *v)
{
	struct x86_cpu *c = v->x86;

	if (!c->wait_sipi)
		return;
	sync(v);
	x86_load_seg_real(c, X86_CS, (uint16_t)(atomic_load(&v->sipi_vector) << 8));
	c->rip = 0;
	c->wait_sipi = false;
	x86_update_mode(c);
}

static void take_requests(struct vcpu *v)
{
	struct x86_cpu *c = v->x86;
	uint32_t req = atomic_load(&c->request);

	if (req & X86_REQ_FLUSH) {
		atomic_fetch_and(&c->request, ~(uint32_t)X86_REQ_FLUSH);
		x86_tlb_flush_all(c);
	}
	if (req & X86_REQ_INIT) {
		atomic_fetch_and(&c->request, ~(uint32_t)X86_REQ_INIT);
		take_init(v);
	}
	/* Both pending: the SIPI came after the INIT, see vcpu_request(). A guest may
	 * send one right after the other, long before this thread is scheduled. */
	if (req & X86_REQ_SIPI) {
		atomic_fetch_and(&c->request, ~(uint32_t)X86_REQ_SIPI);
		take_sipi(v);
	}
}

/*
 * A halted processor that will be woken in a moment waits for it awake: a thread that
 * sleeps takes some ten microseconds to come back, more than most of what processors of one
 * machine ask of each other. How long that is tried follows from how soon the wakes came
 * of late; an idle machine's processors sleep at once.
 */
#define POLL_FIRST_NS 10000
#define POLL_MAX_NS 200000

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* Idleness: of a few seconds all but hundredths slept. Not counted is what other programs
 * kept it from running. */
#define IDLE_WINDOW_NS 5000000000
#define IDLE_BUSY_PERCENT 3

static void watch_idleness(struct vcpu *v, int64_t now)
{
	int64_t window = now - v->window_ns, cpu;
	struct timespec ts;

	if (window < IDLE_WINDOW_NS)
		return;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	cpu = (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
	/* The engine hears of it when nobody can take it away. */
	v->idles = v->window_ns && (cpu - v->window_cpu_ns) * 100 < window * IDLE_BUSY_PERCENT;
	v->window_ns = now;
	v->window_cpu_ns = cpu;
}

static bool poll_request(struct vcpu *v, uint32_t interesting)
{
	int64_t end;

	if (!v->poll_ns)
		return false;
	end = now_ns() + v->poll_ns;
	do {
		for (unsigned n = 0; n < 50; n++) {
			if (atomic_load_explicit(&v->x86->request, memory_order_acquire) & interesting)
				return true;
			__builtin_ia32_pause();
		}
	} while (now_ns() < end);
	return false;
}

/* It slept for @slept_ns after polling in vain. */
static void tune_polling(struct vcpu *v, int64_t slept_ns)
{
	if (v->cpus->count > v->cpus->host_cpus || slept_ns > POLL_MAX_NS)
		v->poll_ns = 0;
	else
		v->poll_ns = v->poll_ns ? min_of(v->poll_ns * 2, (int64_t)POLL_MAX_NS) : POLL_FIRST_NS;
}

/* Sleeps until a request that can end the sleep comes. */
static void sleep_until_request(struct vcpu *v, uint32_t interesting)
{
	struct x86_cpu *c = v->x86;
	int64_t start_ns, end_ns;

	/* What a device held back for more of its kind may be what is waited for. */
	if (!c->wait_sipi && v->cpus->bus)
		bus_idle(v->cpus->bus);
	atomic_store(&v->state, c->wait_sipi ? VCPU_WAIT_SIPI : VCPU_HALTED);
	if (!c->wait_sipi && poll_request(v, interesting)) {
		atomic_store(&v->state, VCPU_RUNNING);
		return;
	}
	start_ns = now_ns();
	pthread_mutex_lock(&v->lock);
	while (!(atomic_load(&c->request) & interesting))
		pthread_cond_wait(&v->wake, &v->lock);
	pthread_mutex_unlock(&v->lock);
	end_ns = now_ns();
	tune_polling(v, end_ns - start_ns);
	watch_idleness(v, end_ns);
	atomic_store(&v->state, VCPU_RUNNING);
}

static void *vcpu_main(void *opaque)
{
	struct vcpu *v = opaque;
	struct cpus *s = v->cpus;
	struct x86_cpu *c = v->x86;

	vcpu_placed(v);
	for (;;) {
		bool stop;

		pthread_mutex_lock(&s->gate);
		wait_open_locked(s, v);
		stop = s->stopping;
		/* Whoever closes the gate from here on asks again: cleared any later, the
		 * request would be lost. */
		atomic_fetch_and(&c->request, ~(uint32_t)X86_REQ_EXIT);
		if (!stop)
			enter_locked(s, v);
		pthread_mutex_unlock(&s->gate);
		if (stop)
			break;

		take_requests(v);
		if (unlikely(v->idles) && s->engine->idle)
			s->engine->idle(v);
		v->idles = false;
		if (s->engine_sleeps ||
		    (!c->wait_sipi && !(c->halted && !(atomic_load(&c->request) | c->recheck))))
			s->engine->run(v);

		pthread_mutex_lock(&s->gate);
		leave_locked(s);
		pthread_mutex_unlock(&s->gate);

		if (s->engine_sleeps)
			continue;
		if (c->wait_sipi)
			/* News of code are for when it runs again. */
			sleep_until_request(v, ~(uint32_t)(X86_REQ_INTR | X86_REQ_NMI | X86_REQ_SMI |
							   X86_REQ_CODE));
		else if (c->halted)
			sleep_until_request(v, ~0u);
	}
	atomic_store(&v->state, VCPU_STOPPED);
	return NULL;
}

void cpus_triple_fault(struct x86_cpu *c)
{
	c->wait_sipi = true; /* shutdown: only INIT or a reset ends it */
	c->stop_block = true;
	atomic_fetch_or(&c->request, X86_REQ_EXIT);
	if (c->cpus && c->cpus->triple_fault)
		c->cpus->triple_fault(c->cpus->vm_opaque, c->index);
}

/*
 * The complex.
 */
static void map_changed(void *opaque)
{
	struct cpus *s = opaque;

	for (unsigned n = 0; n < s->count; n++)
		if (s->vcpu[n].x86)
			vcpu_request(&s->vcpu[n], X86_REQ_FLUSH);
}

static void msi(void *opaque, uint64_t addr, uint32_t data)
{
	struct cpus *s = opaque;

	if (s->engine_msi)
		s->engine_msi(s, addr, data);
	else
		apic_msi(s, addr, data);
}

static int vcpu_init(struct cpus *s, unsigned n, struct err *err)
{
	struct vcpu *v = &s->vcpu[n];

	v->cpus = s;
	v->index = n;
	pthread_mutex_init(&v->lock, NULL);
	pthread_cond_init(&v->wake, NULL);
	v->x86 = x86_cpu_new(s->mem, s->bus, s->vtime);
	if (!v->x86)
		return err_set(err, -ENOMEM, "out of memory for vCPU %u", n);
	v->x86->vcpu = v;
	v->x86->cpus = s;
	v->x86->index = n;
	v->x86->log = s->log;
	cpu_model_apply(s->model, v->x86);
	if (s->engine_features && cpu_model_limit(s->model, v->x86, s->engine_features, err) < 0)
		return -ENOTSUP;
	if (s->saved_features)
		cpu_model_as_saved(s->model, v->x86, s->saved_features);
	v->x86->apic = apic_new(v->x86, s, n);
	if (!v->x86->apic)
		return err_set(err, -ENOMEM, "out of memory for the local APIC of vCPU %u", n);
	x86_reset(v->x86, false);
	v->x86->wait_sipi = n != 0;
	return s->engine->vcpu_init ? s->engine->vcpu_init(v, err) : 0;
}

static unsigned usable_cpus(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
}

struct cpus *cpus_new(const struct cpus_config *cfg, struct err *err)
{
	struct cpus *s = calloc(1, sizeof(*s));

	if (!s)
		goto no_memory;
	s->mem = cfg->mem;
	s->bus = cfg->bus;
	s->vtime = cfg->vtime;
	s->log = cfg->log;
	s->engine = cfg->engine;
	s->options = cfg->options;
	s->engine_anyway = cfg->engine_anyway;
	s->dirty_ring = cfg->dirty_ring;
	s->irqchip = cfg->irqchip;
	s->saved_features = cfg->saved_features;
	s->affinity = cfg->affinity;
	s->nice = cfg->nice;
	s->a20_mask = ~0ull;
	s->host_cpus = usable_cpus();
	s->paused = true;
	s->total = cfg->count;
	s->tsc_hz = x86_host_tsc_hz();
	pthread_mutex_init(&s->gate, NULL);
	pthread_cond_init(&s->gate_changed, NULL);
	s->model = cpu_model_lookup(cfg->model, err);
	if (!s->model)
		goto fail;
	s->vcpu = calloc(cfg->count, sizeof(*s->vcpu));
	if (!s->vcpu)
		goto no_memory;
	if (!s->engine_anyway && s->engine->usable && s->engine->usable(err) != 0)
		goto fail;
	if (!s->engine->translates && (s->options.trace_blocks || s->options.perf_map)) {
		err_set(err, -EINVAL, "--%s: the engine %s translates nothing; use --engine jit",
			s->options.trace_blocks ? "trace-blocks" : "perf-map", s->engine->name);
		goto fail;
	}
	if (s->engine->vm_init && s->engine->vm_init(s, err) != 0)
		goto fail;
	s->engine_ready = true;
	for (unsigned n = 0; n < cfg->count; n++) {
		s->count = n + 1;
		if (vcpu_init(s, n, err) != 0)
			goto fail;
	}
	s->listener = (struct mem_listener){ .map_changed = map_changed, .opaque = s };
	mem_listener_add(s->mem, &s->listener);
	s->bus->msi = msi;
	s->bus->msi_opaque = s;
	return s;

no_memory:
	err_set(err, -ENOMEM, "out of memory for %u virtual CPUs", cfg->count);
fail:
	cpus_free(s);
	return NULL;
}

static void vcpu_fini(struct cpus *s, struct vcpu *v)
{
	if (!v->x86)
		return;
	if (s->engine->vcpu_fini)
		s->engine->vcpu_fini(v);
	apic_free(v->x86->apic);
	x86_cpu_free(v->x86);
	pthread_cond_destroy(&v->wake);
	pthread_mutex_destroy(&v->lock);
}

void cpus_free(struct cpus *s)
{
	if (!s)
		return;
	cpus_stop(s);
	if (s->listener.opaque)
		mem_listener_del(s->mem, &s->listener);
	for (unsigned n = 0; n < s->count; n++)
		vcpu_fini(s, &s->vcpu[n]);
	if (s->engine_ready && s->engine->vm_fini)
		s->engine->vm_fini(s);
	pthread_cond_destroy(&s->gate_changed);
	pthread_mutex_destroy(&s->gate);
	free(s->vcpu);
	free(s);
}

int cpus_start(struct cpus *s, struct err *err)
{
	for (unsigned n = 0; n < s->count; n++) {
		struct vcpu *v = &s->vcpu[n];
		char name[16];
		int r = pthread_create(&v->thread, NULL, vcpu_main, v);

		if (r != 0) {
			cpus_stop(s);
			return err_set(err, -r, "cannot start the thread of vCPU %u: %s; check "
				       "`ulimit -u` and the memory limits", n, strerror(r));
		}
		v->started = true;
		snprintf(name, sizeof(name), "vcpu%u", n);
		pthread_setname_np(v->thread, name);
		r = vcpu_place(v, err);
		if (r < 0) {
			cpus_stop(s);
			return r;
		}
	}
	return 0;
}

void cpus_resume(struct cpus *s)
{
	pthread_mutex_lock(&s->gate);
	/* An engine that has the APICs itself takes INIT and SIPI itself; those that came
	 * before it had them are done before any vCPU of it runs. */
	for (unsigned n = 0; s->engine_sleeps && s->paused && !busy_locked(s) && n < s->count; n++)
		take_requests(&s->vcpu[n]);
	s->paused = false;
	pthread_cond_broadcast(&s->gate_changed);
	pthread_mutex_unlock(&s->gate);
}

void cpus_pause(struct cpus *s)
{
	pthread_mutex_lock(&s->gate);
	s->paused = true;
	ask_all_to_leave(s, NULL);
	while (busy_locked(s))
		pthread_cond_wait(&s->gate_changed, &s->gate);
	pthread_mutex_unlock(&s->gate);
}

void cpus_pause_request(struct cpus *s)
{
	pthread_mutex_lock(&s->gate);
	s->paused = true;
	pthread_mutex_unlock(&s->gate);
	ask_all_to_leave(s, NULL);
}

void cpus_stop(struct cpus *s)
{
	if (!s->count)
		return;
	pthread_mutex_lock(&s->gate);
	s->stopping = true;
	pthread_cond_broadcast(&s->gate_changed);
	pthread_mutex_unlock(&s->gate);
	ask_all_to_leave(s, NULL);
	for (unsigned n = 0; n < s->count; n++) {
		if (s->vcpu[n].started)
			pthread_join(s->vcpu[n].thread, NULL);
		s->vcpu[n].started = false;
	}
}

void cpus_reset(struct cpus *s)
{
	cpus_sync(s);
	for (unsigned n = 0; n < s->count; n++) {
		struct x86_cpu *c = s->vcpu[n].x86;

		atomic_store(&c->request, X86_REQ_FLUSH);
		x86_reset(c, false);
		apic_reset(c->apic, false);
		c->halted = false;
		c->wait_sipi = n != 0;
		s->vcpu[n].stop = (struct cpu_stop){ CPU_STOP_NONE };
		pthread_mutex_lock(&s->vcpu[n].lock);
		pthread_cond_signal(&s->vcpu[n].wake);
		pthread_mutex_unlock(&s->vcpu[n].lock);
	}
	cpus_debug_again(s);
}

/*
 * State and hand-over.
 */
static const struct state_field vcpu_fields[] = {
	STATE_U8(struct vcpu, sipi_vector, 1),
	STATE_END
};

const struct state_desc vcpu_state = { .name = "vcpu", .version = 1, .fields = vcpu_fields };

void cpus_sync(struct cpus *s)
{
	for (unsigned n = 0; n < s->count; n++)
		sync(&s->vcpu[n]);
	if (s->engine->sync_vm)
		s->engine->sync_vm(s);
}

/* What one engine keeps of a machine and its vCPUs. */
struct engine_side {
	const struct engine_desc *engine;
	void *vm_priv;
	bool sleeps, tag_code;
	struct { void *vcpu_priv, *x86_priv; } *cpu; /* one for each vCPU */
};

/* Takes the engine's own out of the complex, so that another may put its own there. */
static void side_take(struct cpus *s, struct engine_side *side)
{
	side->engine = s->engine;
	side->vm_priv = s->engine_priv;
	side->sleeps = s->engine_sleeps;
	side->tag_code = s->vcpu[0].x86->tag_code;
	for (unsigned n = 0; n < s->count; n++) {
		struct vcpu *v = &s->vcpu[n];

		pthread_mutex_lock(&v->lock); /* kick() looks at it */
		side->cpu[n].vcpu_priv = v->engine_priv;
		side->cpu[n].x86_priv = v->x86->engine_priv;
		v->engine_priv = v->x86->engine_priv = NULL;
		pthread_mutex_unlock(&v->lock);
		v->x86->tag_code = false;
	}
	s->engine_priv = NULL;
	s->engine_sleeps = false;
}

static void side_put(struct cpus *s, const struct engine_side *side)
{
	s->engine = side->engine;
	s->engine_priv = side->vm_priv;
	s->engine_sleeps = side->sleeps;
	for (unsigned n = 0; n < s->count; n++) {
		struct vcpu *v = &s->vcpu[n];

		pthread_mutex_lock(&v->lock);
		v->engine_priv = side->cpu[n].vcpu_priv;
		v->x86->engine_priv = side->cpu[n].x86_priv;
		pthread_mutex_unlock(&v->lock);
		v->x86->tag_code = side->tag_code;
	}
}

/* Frees what the engine in place has, of @cpus vCPUs. */
static void engine_fini(struct cpus *s, unsigned cpus)
{
	for (unsigned n = 0; n < cpus; n++)
		if (s->engine->vcpu_fini)
			s->engine->vcpu_fini(&s->vcpu[n]);
	if (s->engine->vm_fini)
		s->engine->vm_fini(s);
}

static int engine_init(struct cpus *s, const struct engine_desc *e, struct err *err)
{
	int ret;

	s->engine = e;
	ret = e->vm_init ? e->vm_init(s, err) : 0;
	for (unsigned n = 0; n < s->count && ret == 0; n++) {
		ret = e->vcpu_init ? e->vcpu_init(&s->vcpu[n], err) : 0;
		if (ret != 0)
			engine_fini(s, n);
	}
	return ret;
}

int cpus_set_engine(struct cpus *s, const struct engine_desc *e, struct err *err)
{
	struct engine_side old, new;
	int ret;

	if (e == s->engine)
		return 0;
	if (!s->engine_anyway && e->usable && (ret = e->usable(err)) != 0)
		return ret;
	ret = cpus_debug_fits(s, e, err);
	if (ret != 0)
		return ret;
	old.cpu = calloc(s->count, sizeof(*old.cpu));
	new.cpu = calloc(s->count, sizeof(*new.cpu));
	if (!old.cpu || !new.cpu) {
		ret = err_set(err, -ENOMEM, "out of memory for another engine");
		goto out;
	}
	cpus_sync(s);
	side_take(s, &old);
	ret = engine_init(s, e, err);
	if (ret == 0) {
		/* Only now is the old one done with. */
		side_take(s, &new);
		side_put(s, &old);
		engine_fini(s, s->count);
		side_put(s, &new);
	} else {
		side_put(s, &old);
	}
	for (unsigned n = 0; n < s->count; n++) {
		struct x86_cpu *c = s->vcpu[n].x86;

		/* Of the old one's code: a new one would never look at it. */
		atomic_fetch_and(&c->request, ~(uint32_t)X86_REQ_CODE);
		x86_tlb_flush_all(c);
		x86_update_mode(c);
		c->recheck = true;
		x86_jit_stop(c);
	}
	cpus_debug_again(s);
out:
	free(old.cpu);
	free(new.cpu);
	return ret;
}

const struct engine_desc *engine_lookup(const char *name)
{
	bool automatic = strcmp(name, "auto") == 0;

	for (size_t n = 0; engines[n]; n++) {
		if (automatic && (!engines[n]->usable || engines[n]->usable(NULL) == 0))
			return engines[n];
		if (strcmp(engines[n]->name, name) == 0)
			return engines[n];
	}
	return NULL;
}
