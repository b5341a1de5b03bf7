/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/dev/legacy/i8042.h"

#include <errno.h>

#include "src/base/bits.h"
#include "src/dev/irq_state.h"

#define STATUS_OUT_FULL 0x01u
#define STATUS_SYSTEM 0x04u
#define STATUS_COMMAND 0x08u /* the last write went to port 64h */
#define STATUS_UNLOCKED 0x10u
#define STATUS_AUX 0x20u

#define CONFIG_KBD_IRQ 0x01u
#define CONFIG_AUX_IRQ 0x02u
#define CONFIG_SYSTEM 0x04u
#define CONFIG_KBD_OFF 0x10u
#define CONFIG_AUX_OFF 0x20u
#define CONFIG_TRANSLATE 0x40u

static void update_irqs(struct i8042 *k)
{
	bool full = k->status & STATUS_OUT_FULL, aux = k->status & STATUS_AUX;

	irq_set(&k->irq_kbd, full && !aux && k->ram[0] & CONFIG_KBD_IRQ);
	irq_set(&k->irq_mouse, full && aux && k->ram[0] & CONFIG_AUX_IRQ);
}

static void set_out(struct i8042 *k, uint8_t v, bool aux)
{
	k->out = v;
	k->status |= STATUS_OUT_FULL;
	if (aux)
		k->status |= STATUS_AUX;
	else
		k->status &= (uint8_t)~STATUS_AUX;
}

/* The keyboard's next byte, translated; -1 none. */
static int kbd_byte(struct i8042 *k)
{
	int v;

	if (k->ram[0] & CONFIG_KBD_OFF)
		return -1;
	while ((v = ps2_queue_get(&k->kbd.out)) >= 0) {
		k->kbd.last = (uint8_t)v;
		if (!(k->ram[0] & CONFIG_TRANSLATE))
			return v;
		if (v == 0xf0) {
			k->release_next = true;
			continue;
		}
		v = ps2_translate((uint8_t)v);
		if (k->release_next)
			v |= 0x80;
		k->release_next = false;
		return v;
	}
	return -1;
}

/* The output buffer takes its next byte: the controller's own first. */
static void fill(struct i8042 *k)
{
	int v;

	if (!(k->status & STATUS_OUT_FULL)) {
		if (k->reply_pending) {
			k->reply_pending = false;
			set_out(k, k->reply, k->reply_aux);
		} else if ((v = kbd_byte(k)) >= 0) {
			set_out(k, (uint8_t)v, false);
		} else if (!(k->ram[0] & CONFIG_AUX_OFF) &&
			   (v = ps2_queue_get(&k->mouse.out)) >= 0) {
			k->mouse.last = (uint8_t)v;
			set_out(k, (uint8_t)v, true);
			/* Movement that found no room goes on. */
			ps2_mouse_move(&k->mouse, 0, 0, 0, k->mouse.buttons);
		}
	}
	update_irqs(k);
}

static void reply(struct i8042 *k, uint8_t v, bool aux)
{
	k->reply = v;
	k->reply_aux = aux;
	k->reply_pending = true;
}

static uint8_t output_port(const struct i8042 *k)
{
	return (uint8_t)(1 | k->a20->open << 1 | k->irq_kbd.level << 4 |
			 k->irq_mouse.level << 5 | 0xc0);
}

static void write_output_port(struct i8042 *k, uint8_t val)
{
	a20_set(k->a20, val & 2);
	if (!(val & 1) && k->env->reset)
		k->env->reset(k->env->power_opaque);
}

static void write_command(struct i8042 *k, uint8_t val)
{
	k->status |= STATUS_COMMAND;
	k->command = 0;
	switch (val) {
	case 0x20 ... 0x3f: reply(k, k->ram[val & 0x1f], false); break;
	case 0x60 ... 0x7f: case 0xd1 ... 0xd4: k->command = val; break;
	case 0xa7: k->ram[0] |= CONFIG_AUX_OFF; break;
	case 0xa8: k->ram[0] &= (uint8_t)~CONFIG_AUX_OFF; break;
	case 0xa9: case 0xab: reply(k, 0x00, false); break; /* the line is fine */
	case 0xaa:
		k->status |= STATUS_SYSTEM;
		reply(k, 0x55, false);
		break;
	case 0xad: k->ram[0] |= CONFIG_KBD_OFF; break;
	case 0xae: k->ram[0] &= (uint8_t)~CONFIG_KBD_OFF; break;
	case 0xc0: reply(k, 0x80, false); break; /* input port: not locked */
	case 0xd0: reply(k, output_port(k), false); break;
	case 0xdd: a20_set(k->a20, false); break;
	case 0xdf: a20_set(k->a20, true); break;
	case 0xf0 ... 0xff: /* pulses the bits that are 0; bit 0 is the reset line */
		if (!(val & 1) && k->env->reset)
			k->env->reset(k->env->power_opaque);
		break;
	default: break;
	}
}

static void write_data(struct i8042 *k, uint8_t val)
{
	uint8_t command = k->command;

	k->status &= (uint8_t)~STATUS_COMMAND;
	k->command = 0;
	switch (command) {
	case 0x60:
		k->ram[0] = val;
		k->status = (uint8_t)((k->status & ~STATUS_SYSTEM) |
				      (val & CONFIG_SYSTEM ? STATUS_SYSTEM : 0));
		break;
	case 0x61 ... 0x7f: k->ram[command & 0x1f] = val; break;
	case 0xd1: write_output_port(k, val); break;
	case 0xd2: reply(k, val, false); break;
	case 0xd3: reply(k, val, true); break;
	case 0xd4:
		k->ram[0] &= (uint8_t)~CONFIG_AUX_OFF;
		ps2_mouse_write(&k->mouse, val);
		break;
	default: /* sending to the keyboard switches it on */
		k->ram[0] &= (uint8_t)~CONFIG_KBD_OFF;
		ps2_kbd_write(&k->kbd, val);
		break;
	}
}

static uint64_t data_read(void *dev, uint64_t off, unsigned size)
{
	struct i8042 *k = dev;
	uint8_t v = k->out;

	k->status &= (uint8_t)~(STATUS_OUT_FULL | STATUS_AUX);
	update_irqs(k); /* falls before the next byte lets it rise */
	fill(k);
	return v;
}

static void data_write(void *dev, uint64_t off, uint64_t val, unsigned size)
{
	write_data(dev, (uint8_t)val);
	fill(dev);
}

static uint64_t status_read(void *dev, uint64_t off, unsigned size)
{
	struct i8042 *k = dev;

	return k->status;
}

static void command_write(void *dev, uint64_t off, uint64_t val, unsigned size)
{
	write_command(dev, (uint8_t)val);
	fill(dev);
}

static const struct bus_ops data_ops = { data_read, data_write, 1, 1, false };
static const struct bus_ops command_ops = { status_read, command_write, 1, 1, false };

void i8042_key(struct i8042 *k, uint16_t code, bool down)
{
	ps2_kbd_key(&k->kbd, code, down);
	fill(k);
}

void i8042_mouse(struct i8042 *k, int dx, int dy, int dz, unsigned buttons)
{
	ps2_mouse_move(&k->mouse, dx, dy, dz, buttons);
	fill(k);
}

static void input_key_in(void *opaque, uint16_t key, bool down)
{
	i8042_key(opaque, key, down);
}

static bool input_key_room(void *opaque)
{
	struct i8042 *k = opaque;

	return ps2_kbd_room(&k->kbd);
}

static void input_move_in(void *opaque, int dx, int dy, int wheel, unsigned buttons)
{
	i8042_mouse(opaque, dx, -dy, -wheel, buttons);
}

/*
 * Life.
 */
static void reset(void *dev)
{
	struct i8042 *k = dev;

	ps2_kbd_reset(&k->kbd);
	ps2_mouse_reset(&k->mouse);
	memset(k->ram, 0, sizeof(k->ram));
	/* As firmware leaves it: both on, interrupts on, translated. */
	k->ram[0] = CONFIG_KBD_IRQ | CONFIG_AUX_IRQ | CONFIG_SYSTEM | CONFIG_TRANSLATE;
	k->status = STATUS_SYSTEM | STATUS_UNLOCKED;
	k->out = k->command = k->reply = 0;
	k->reply_pending = k->reply_aux = k->release_next = false;
	a20_set(k->a20, true);
	update_irqs(k);
}

int i8042_init(struct i8042 *k, const struct dev_env *env, const struct irq_line *irq_kbd,
	       const struct irq_line *irq_mouse, struct a20_gate *a20, struct err *err)
{
	int r;

	*k = (struct i8042){
		.env = env, .irq_kbd = *irq_kbd, .irq_mouse = *irq_mouse, .a20 = a20,
	};
	reset(k);
	k->ports[0] = (struct bus_range){ 0x60, 1, &data_ops, k, "i8042-data" };
	k->ports[1] = (struct bus_range){ 0x64, 1, &command_ops, k, "i8042-command" };
	r = bus_add_pio(env->bus, &k->ports[0]);
	if (r == 0)
		r = bus_add_pio(env->bus, &k->ports[1]);
	if (r != 0) {
		i8042_fini(k);
		return err_set(err, r, "cannot place the keyboard controller");
	}
	k->input_kbd = (struct input_dev){
		.name = "ps2-keyboard", .key = input_key_in, .key_room = input_key_room,
		.opaque = k,
	};
	k->input_mouse = (struct input_dev){
		.name = "ps2-mouse", .move = input_move_in, .opaque = k,
	};
	input_add(env->input, &k->input_kbd);
	input_add(env->input, &k->input_mouse);
	return 0;
}

void i8042_fini(struct i8042 *k)
{
	input_del(k->env->input, &k->input_kbd);
	input_del(k->env->input, &k->input_mouse);
	bus_del_pio(k->env->bus, &k->ports[0]);
	bus_del_pio(k->env->bus, &k->ports[1]);
}

static const struct state_field fields[] = {
	STATE_STRUCT(struct i8042, kbd, 1, &ps2_kbd_state),
	STATE_STRUCT(struct i8042, mouse, 1, &ps2_mouse_state),
	STATE_U8(struct i8042, status, 1),
	STATE_U8(struct i8042, out, 1),
	STATE_U8(struct i8042, command, 1),
	STATE_U8(struct i8042, reply, 1),
	STATE_BOOL(struct i8042, reply_pending, 1),
	STATE_BOOL(struct i8042, reply_aux, 1),
	STATE_BOOL(struct i8042, release_next, 1),
	STATE_BYTES(struct i8042, ram, 1),
	STATE_IRQ(struct i8042, irq_kbd, 1),
	STATE_IRQ(struct i8042, irq_mouse, 1),
	STATE_END
};

static const struct state_desc state = { .name = "i8042", .version = 1, .fields = fields };

const struct dev_desc i8042_desc = {
	.name = "i8042",
	.title = "keyboard controller with keyboard and mouse",
	.reset = reset,
	.state = &state,
};
