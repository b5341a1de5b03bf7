/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * State tables: how every part of a machine names what it is made of.
 *
 * A part lists its fields once, with a version; saving, restoring, migrating
 * and handing over between engines are walks over that list. What is written is
 * named fields, never a struct dump, so layout may change freely.
 *
 *   static const struct state_field pit_fields[] = {
 *           STATE_U16(struct pit_channel, count, 1),
 *           STATE_END
 *   };
 *   const struct state_desc pit_state = {
 *           .name = "pit", .version = 1, .fields = pit_fields, .post_load = pit_post_load,
 *   };
 */
#ifndef BOTHY_STATE_STATE_H
#define BOTHY_STATE_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "src/base/err.h"

enum state_type {
	STATE_TYPE_END,
	STATE_TYPE_UINT,   /* 1, 2, 4 or 8 bytes, little-endian on the wire */
	STATE_TYPE_BOOL,   /* a byte, 0 or 1; anything else is refused */
	STATE_TYPE_BYTES,  /* a fixed run of bytes */
	STATE_TYPE_STRUCT, /* nested, fields in .sub; count > 1 for arrays */
	STATE_TYPE_TIMER,  /* struct vtimer: deadline relative to now, -1 not armed */
};

struct state_field {
	const char *name;
	enum state_type type;
	size_t offset;
	size_t size;  /* of one element */
	size_t count; /* elements; 1 for a scalar */
	unsigned since; /* first version that has it */
	const struct state_desc *sub;
};

struct state_desc {
	const char *name;
	unsigned version;
	const struct state_field *fields;
	/* All may be NULL. post_load validates: what a hostile stream could set
	 * must be checked here, -EINVAL with a reason refuses the restore. */
	void (*pre_save)(void *obj);
	int (*post_load)(void *obj, unsigned version, struct err *err);
};

#define STATE_SIZEOF(s, f) sizeof(((s *)0)->f)
#define STATE_SCALAR(s, f, v) \
	{ #f, STATE_TYPE_UINT, offsetof(s, f), STATE_SIZEOF(s, f), 1, v, NULL }
#define STATE_U8(s, f, v) STATE_SCALAR(s, f, v)
#define STATE_U16(s, f, v) STATE_SCALAR(s, f, v)
#define STATE_U32(s, f, v) STATE_SCALAR(s, f, v)
#define STATE_U64(s, f, v) STATE_SCALAR(s, f, v)
#define STATE_BOOL(s, f, v) \
	{ #f, STATE_TYPE_BOOL, offsetof(s, f), STATE_SIZEOF(s, f), 1, v, NULL }
#define STATE_ARRAY(s, f, v)                                                        \
	{ #f, STATE_TYPE_UINT, offsetof(s, f), STATE_SIZEOF(s, f[0]),               \
	  STATE_SIZEOF(s, f) / STATE_SIZEOF(s, f[0]), v, NULL }
#define STATE_BYTES(s, f, v) \
	{ #f, STATE_TYPE_BYTES, offsetof(s, f), STATE_SIZEOF(s, f), 1, v, NULL }
#define STATE_STRUCT(s, f, v, d) \
	{ #f, STATE_TYPE_STRUCT, offsetof(s, f), STATE_SIZEOF(s, f), 1, v, d }
#define STATE_STRUCT_ARRAY(s, f, v, d)                                              \
	{ #f, STATE_TYPE_STRUCT, offsetof(s, f), STATE_SIZEOF(s, f[0]),             \
	  STATE_SIZEOF(s, f) / STATE_SIZEOF(s, f[0]), v, d }
#define STATE_TIMER(s, f, v) { #f, STATE_TYPE_TIMER, offsetof(s, f), 0, 1, v, NULL }
#define STATE_END { NULL, STATE_TYPE_END, 0, 0, 0, 0, NULL }

/*
 * On the wire (all numbers little-endian): u8 length and text of the name, u32
 * instance, u32 version, u32 length of what follows; then each field: u8 length and
 * text of its name, u32 length, bytes. A struct's bytes are, for each element, u32
 * version, u32 length and its fields.
 */

/* A growing buffer of saved state. */
struct state_buf {
	uint8_t *data;
	size_t len, cap, pos; /* pos: read position */
	bool failed;          /* ran out of memory */
};

void state_buf_fini(struct state_buf *b);

/* Appends one section: name, instance, version, then each field with its name
 * and length. 0 or -ENOMEM. */
int must_check state_save(struct state_buf *b, const struct state_desc *d, void *obj,
			  unsigned instance);

/* Reads the next section into @obj. Fields newer than the stream's version keep what
 * they have: load into a freshly reset object. Refuses, with the section and field named:
 * another name or instance, a newer version, an unknown, missing or ill-sized
 * field, a short buffer. On failure @obj is in an unspecified but valid-to-free
 * state. */
int must_check state_load(struct state_buf *b, const struct state_desc *d, void *obj,
			  unsigned instance, struct err *err);

#endif
