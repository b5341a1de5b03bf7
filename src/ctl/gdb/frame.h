/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Packets of GDB's remote protocol out of a stream of bytes (GDB manual, appendix E.1). */
#ifndef BOTHY_CTL_GDB_FRAME_H
#define BOTHY_CTL_GDB_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GDB_PACKET_MAX 16384u /* bytes between $ and #, either way */

/* What a byte completed. GDB_IN_BAD: a packet whose checksum is wrong or that is too
 * long; GDB_IN_BREAK: Ctrl-C. */
enum gdb_in { GDB_IN_NOTHING, GDB_IN_PACKET, GDB_IN_BAD, GDB_IN_ACK, GDB_IN_NAK, GDB_IN_BREAK };

struct gdb_frame {
	enum { GDB_BETWEEN, GDB_INSIDE, GDB_SUM_HIGH, GDB_SUM_LOW } state;
	bool escaped, too_long;
	uint8_t sum, given;
	size_t len;
	char data[GDB_PACKET_MAX + 1]; /* of GDB_IN_PACKET; a NUL follows. Escapes are undone. */
};

void gdb_frame_init(struct gdb_frame *f);
enum gdb_in gdb_frame_byte(struct gdb_frame *f, uint8_t b);

/* A packet on its way out, framed in place. What does not fit is cut off. */
struct gdb_reply {
	size_t len; /* with what frames it, once it is closed */
	char text[GDB_PACKET_MAX + 8];
};

void gdb_reply_begin(struct gdb_reply *r);
/* Text that needs no escapes. */
void gdb_reply_add(struct gdb_reply *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void gdb_reply_hex(struct gdb_reply *r, const void *data, size_t len);
void gdb_reply_binary(struct gdb_reply *r, const void *data, size_t len);
size_t gdb_reply_room(const struct gdb_reply *r); /* bytes */
void gdb_reply_end(struct gdb_reply *r);

int gdb_hex_digit(char c); /* -1: none */

#endif
