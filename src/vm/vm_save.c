/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Saving a machine and going on with a saved one. The vCPUs stand still, and so does the
 * machine's clock; the loop's thread writes, and between two pieces of memory serves the
 * control channel. Nothing else of the loop runs, so that no device changes meanwhile.
 */
#include <errno.h>
#include <json-c/json.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "src/base/loop.h"
#include "src/base/vtime.h"
#include "src/bus/bus.h"
#include "src/cpu/cpu.h"
#include "src/dev/chardev.h"
#include "src/vm/save.h"
#include "src/vm/save_file.h"
#include "src/vm/vm_priv.h"

#define PUMP_NS 10000000     /* a control client waits about this long */
#define TELL_NS 1000000000

struct breath {
	struct vm *vm;
	int64_t pumped_ns, told_ns;
};

bool vm_saving(const struct vm *vm, uint64_t *done, uint64_t *total)
{
	*done = vm->save_done;
	*total = vm->save_total;
	return vm->saving;
}

static void tell_progress(struct vm *vm)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "done", json_object_new_int64((int64_t)vm->save_done));
	json_object_object_add(o, "total", json_object_new_int64((int64_t)vm->save_total));
	vm_tell_named(vm, "SAVE_PROGRESS", o);
}

static int breathe(void *opaque, uint64_t done, uint64_t total)
{
	struct breath *b = opaque;
	struct vm *vm = b->vm;
	int64_t now = vm_host_ns();

	vm->save_done = done;
	vm->save_total = total;
	if (now - b->pumped_ns < PUMP_NS)
		return 0;
	b->pumped_ns = now;
	if (now - b->told_ns > TELL_NS) {
		b->told_ns = now;
		tell_progress(vm);
	}
	loop_pump(vm->loop);
	return vm->save_cancelled ? -ECANCELED : 0;
}

static struct save_machine saved_parts(const struct vm *vm, struct breath *b)
{
	return (struct save_machine){
		.mem = vm->mem, .cpus = vm->cpus, .board = vm->board, .vtime = vm->vtime,
		.log = vm->log, .config = vm->cfg.description,
		.breathe = b ? breathe : NULL, .breathe_opaque = b,
	};
}

/*
 * The disk may take its time; it is waited for in a thread of its own.
 */
struct finish {
	struct save_writer *w;
	struct err *err;
	int ret;
	_Atomic bool done;
};

static void *finish_main(void *opaque)
{
	struct finish *f = opaque;

	f->ret = save_writer_finish(f->w, f->err);
	atomic_store(&f->done, true);
	return NULL;
}

static int finish(struct vm *vm, struct save_writer *w, struct err *err)
{
	struct finish f = { .w = w, .err = err };
	pthread_t thread;

	if (pthread_create(&thread, NULL, finish_main, &f) != 0)
		return save_writer_finish(w, err);
	while (!atomic_load(&f.done)) {
		loop_pump(vm->loop);
		usleep(2000);
	}
	pthread_join(thread, NULL);
	return f.ret;
}

static int write_save(struct vm *vm, const char *path, struct err *err)
{
	struct breath b = { vm, vm_host_ns(), vm_host_ns() };
	const struct save_machine parts = saved_parts(vm, &b);
	struct save_writer *w;
	int ret;

	/* A reset or the machine's end that a vCPU asked for is not in its state. */
	if (vm_leaving(vm))
		return err_set(err, -EAGAIN, "the machine is being reset or ended; try again");
	ret = save_possible(&parts, err);
	if (ret == 0)
		ret = save_check_space(&parts, path, err);
	if (ret < 0)
		return ret;
	w = save_writer_new(path, err);
	if (!w)
		return -EIO;
	ret = save_write(&parts, w, err);
	if (ret == 0)
		ret = finish(vm, w, err);
	save_writer_free(w);
	return ret;
}

static void end_after_all(void *opaque)
{
	struct vm *vm = opaque;

	vm_end(vm, vm->end_reason);
}

int vm_save(struct vm *vm, const char *path, struct err *err)
{
	int ret;

	if (vm->state == VM_SHUTDOWN)
		return err_set(err, -EINVAL, "the machine has ended; there is nothing to save");
	vm_stop_cpus(vm);
	/* Before anything is written down: completions reach interrupt controllers. */
	vm_drives_drain(vm);
	cpus_sync(vm->cpus);
	vtime_pause(vm->vtime);
	vm->saving = true;
	ret = write_save(vm, path, err);
	vm->saving = false;
	vm->save_done = vm->save_total = 0;
	if (vm->state == VM_RUNNING) {
		vtime_resume(vm->vtime);
		vm_let_go_on(vm);
	}
	if (vm->save_cancelled)
		loop_post(vm->loop, end_after_all, vm);
	vm->save_cancelled = false;
	return ret;
}

int vm_restore(struct vm *vm, struct err *err)
{
	const struct save_machine parts = saved_parts(vm, NULL);
	struct save_reader *r = save_reader_new(vm->cfg.restore, err);
	int ret;

	if (!r)
		return -EIO;
	vm->boot_kind = "restored";
	ret = save_read(&parts, r, err);
	save_reader_free(r);
	/* What waited for the far end's room asks again: this one has room. */
	if (ret == 0 && vm->serial)
		chardev_writable(vm->serial);
	if (ret == 0)
		vm_chardevs_writable(vm);
	return ret < 0 ? err_prefix(err, ret, "'%s' cannot be restored", vm->cfg.restore) : 0;
}
