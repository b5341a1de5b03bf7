/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/cpu/check/check.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/cpu/check/check_priv.h"
#include "src/cpu/jit/jit.h"
#include "src/cpu/x86/access.h"
#include "src/cpu/x86/cpuid.h"

/*
 * Memory as others change it.
 */
static void map_changed(void *opaque)
{
	struct check *k = opaque;

	atomic_store(&k->map_changed, true);
}

static void written(void *opaque, uint64_t off, uint64_t len)
{
	struct check *k = opaque;

	/* The leader's own stores the follower does itself. */
	if (k->started && pthread_equal(k->thread, pthread_self()) && !k->tape->outside)
		return;
	pthread_mutex_lock(&k->dma_lock);
	if (len > UINT32_MAX)
		k->ndma = CHECK_DMA_MAX + 1;
	else if (k->ndma < CHECK_DMA_MAX)
		k->dma[k->ndma++] = (struct x86_tape_store){ off, (uint32_t)len };
	else
		k->ndma = CHECK_DMA_MAX + 1;
	pthread_mutex_unlock(&k->dma_lock);
}

/*
 * The end.
 */
void check_failed(struct check *k, const char *why)
{
	struct cpus *s = k->v->cpus;
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	k->failed = true;
	if (f) {
		fprintf(f, "bothy: check: %s, after %" PRIu64 " instructions\n", why, k->insns);
		check_print(k, f);
		fprintf(f, "blocks that ran last, oldest first:\n");
		jit_list(k->v, k->budget, f);
		fclose(f);
	}
	if (text && s->log && write(s->log->fd, text, len) < 0)
		log_error(s->log, "check: %s; the report cannot be written", why);
	free(text);
	if (s->engine_broken)
		s->engine_broken(s->vm_opaque, k->v->index);
	vcpu_request(k->v, X86_REQ_EXIT);
}

/*
 * The engine.
 */
static int check_usable(struct err *err)
{
	return jit_engine.usable(err);
}

static int check_vm_init(struct cpus *s, struct err *err)
{
	if (s->total != 1)
		return err_set(err, -EINVAL, "--engine check runs one virtual CPU, not %u; use "
			       "--cpus 1", s->total);
	return jit_engine.vm_init(s, err);
}

static void check_vm_fini(struct cpus *s)
{
	jit_engine.vm_fini(s);
}

static void check_vcpu_fini(struct vcpu *v)
{
	struct check *k = v->engine_priv;

	if (k) {
		mem_listener_del(v->x86->mem, &k->listener);
		interp_free(k->interp);
		x86_cpu_free(k->follow);
		mem_free(k->mirror);
		x86_tape_free(k->tape);
		pthread_mutex_destroy(&k->dma_lock);
		v->x86->tape = NULL;
		free(k);
	}
	v->engine_priv = NULL;
	jit_engine.vcpu_fini(v);
}

static void point(void *opaque, enum jit_point p)
{
	check_point(opaque, (int)p);
}

static int make_follower(struct check *k, struct err *err)
{
	struct x86_cpu *c = k->lead, *s;

	k->tape = x86_tape_new();
	k->interp = interp_new();
	k->mirror = mem_mirror_new(c->mem, err);
	if (!k->mirror)
		return -ENOMEM;
	k->follow = s = x86_cpu_new(k->mirror, c->bus, c->vtime);
	if (!k->tape || !k->interp || !s)
		return err_set(err, -ENOMEM, "out of memory for the follower");
	k->world.a20_mask = ~0ull;
	k->world.model = k->v->cpus->model;
	cpu_model_apply(k->v->cpus->model, s);
	s->cpus = &k->world;
	s->apic = c->apic;
	s->index = c->index;
	s->tape = c->tape = k->tape;
	s->follows = true;
	return 0;
}

static int check_vcpu_init(struct vcpu *v, struct err *err)
{
	struct check *k;
	int r = jit_engine.vcpu_init(v, err);

	if (r != 0)
		return r;
	k = calloc(1, sizeof(*k));
	if (!k)
		return err_set(err, -ENOMEM, "out of memory for the follower");
	v->engine_priv = k;
	k->v = v;
	k->lead = v->x86;
	k->random = 0x9e3779b97f4a7c15ull;
	pthread_mutex_init(&k->dma_lock, NULL);
	r = make_follower(k, err);
	if (r != 0)
		return r;
	k->listener = (struct mem_listener){ .map_changed = map_changed, .written = written,
					     .opaque = k };
	mem_listener_add(v->x86->mem, &k->listener);
	jit_follow(v, point, k);
	return 0;
}

static void check_run(struct vcpu *v)
{
	struct check *k = v->engine_priv;

	if (k->failed)
		v->x86->wait_sipi = true; /* nothing runs any more */
	else
		jit_engine.run(v);
}

static void check_tlb_flushed(struct x86_cpu *c, enum cpu_flush what, uint64_t lin)
{
	jit_engine.tlb_flushed(c, what, lin);
}

static void check_space_switched(struct x86_cpu *c, unsigned from, unsigned to, bool keep)
{
	jit_engine.space_switched(c, from, to, keep);
}

static void check_debug_changed(struct vcpu *v, const struct cpu_point *p)
{
	jit_engine.debug_changed(v, p);
}

static unsigned check_stats(const struct vcpu *v, struct engine_stat *st)
{
	const struct check *k = v->engine_priv;
	const struct engine_stat own[] = {
		{ "check-stretches", k->stretches },
		{ "check-instructions", k->insns },
		{ "check-taken-over", k->taken_over },
	};

	memcpy(st, own, sizeof(own));
	return array_size(own) + jit_engine.stats(v, st + array_size(own));
}

const struct engine_desc check_engine = {
	.name = "check",
	.title = "translator and interpreter side by side, compared (very slow, one CPU; for "
		 "finding faults of bothy's)",
	.usable = check_usable,
	.vm_init = check_vm_init,
	.vm_fini = check_vm_fini,
	.vcpu_init = check_vcpu_init,
	.vcpu_fini = check_vcpu_fini,
	.run = check_run,
	.tlb_flushed = check_tlb_flushed,
	.space_switched = check_space_switched,
	.stats = check_stats,
	.debug_changed = check_debug_changed,
	.translates = true,
};
