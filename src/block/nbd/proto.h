/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The network block device protocol, fixed newstyle. Source: the NetworkBlockDevice
 * project's doc/proto.md; sections are named where they matter. Big-endian on the wire.
 */
#ifndef BOTHY_BLOCK_NBD_PROTO_H
#define BOTHY_BLOCK_NBD_PROTO_H

#define NBD_MAGIC 0x4e42444d41474943ULL      /* "NBDMAGIC" */
#define NBD_OPT_MAGIC 0x49484156454f5054ULL  /* "IHAVEOPT" */
#define NBD_OLD_MAGIC 0x0000420281861253ULL  /* a server of the old style */
#define NBD_REP_MAGIC 0x0003e889045565a9ULL
#define NBD_REQUEST_MAGIC 0x25609513u
#define NBD_SIMPLE_MAGIC 0x67446698u
#define NBD_CHUNK_MAGIC 0x668e33efu

/* Handshake flags, of the server and (the same numbers) of the client. */
#define NBD_FLAG_FIXED_NEWSTYLE 1u
#define NBD_FLAG_NO_ZEROES 2u

enum nbd_opt {
	NBD_OPT_EXPORT_NAME = 1,
	NBD_OPT_ABORT = 2,
	NBD_OPT_LIST = 3,
	NBD_OPT_STARTTLS = 5,
	NBD_OPT_INFO = 6,
	NBD_OPT_GO = 7,
	NBD_OPT_STRUCTURED_REPLY = 8,
	NBD_OPT_LIST_META_CONTEXT = 9,
	NBD_OPT_SET_META_CONTEXT = 10,
};

enum nbd_rep { NBD_REP_ACK = 1, NBD_REP_SERVER = 2, NBD_REP_INFO = 3, NBD_REP_META_CONTEXT = 4 };
#define NBD_REP_ERR 0x80000000u
#define NBD_REP_ERR_UNSUP (NBD_REP_ERR | 1)
#define NBD_REP_ERR_POLICY (NBD_REP_ERR | 2)
#define NBD_REP_ERR_INVALID (NBD_REP_ERR | 3)
#define NBD_REP_ERR_TLS_REQD (NBD_REP_ERR | 5)
#define NBD_REP_ERR_UNKNOWN (NBD_REP_ERR | 6)
#define NBD_REP_ERR_TOO_BIG (NBD_REP_ERR | 9)

enum nbd_info { NBD_INFO_EXPORT = 0, NBD_INFO_NAME = 1, NBD_INFO_DESCRIPTION = 2,
		NBD_INFO_BLOCK_SIZE = 3 };

/* Transmission flags of an export. */
#define NBD_HAS_FLAGS 0x001u
#define NBD_READ_ONLY 0x002u
#define NBD_SEND_FLUSH 0x004u
#define NBD_SEND_FUA 0x008u
#define NBD_SEND_TRIM 0x020u
#define NBD_SEND_WRITE_ZEROES 0x040u
#define NBD_SEND_DF 0x080u
#define NBD_CAN_MULTI_CONN 0x100u

enum nbd_cmd {
	NBD_CMD_READ = 0,
	NBD_CMD_WRITE = 1,
	NBD_CMD_DISC = 2,
	NBD_CMD_FLUSH = 3,
	NBD_CMD_TRIM = 4,
	NBD_CMD_WRITE_ZEROES = 6,
	NBD_CMD_BLOCK_STATUS = 7,
};
#define NBD_CMD_FLAG_FUA 1u
#define NBD_CMD_FLAG_NO_HOLE 2u
#define NBD_CMD_FLAG_DF 4u
#define NBD_CMD_FLAG_REQ_ONE 8u

enum nbd_chunk {
	NBD_CHUNK_NONE = 0,
	NBD_CHUNK_DATA = 1,
	NBD_CHUNK_HOLE = 2,
	NBD_CHUNK_STATUS = 5,
	NBD_CHUNK_ERROR = 0x8001,
	NBD_CHUNK_ERROR_OFFSET = 0x8002,
};
#define NBD_CHUNK_FLAG_DONE 1u

/* Of the metadata context base:allocation. */
#define NBD_STATE_HOLE 1u
#define NBD_STATE_ZERO 2u
#define NBD_BASE_ALLOCATION "base:allocation"

enum {
	NBD_PORT = 10809,
	NBD_MAX_STRING = 4096,         /* section "Values": names and descriptions */
	NBD_MAX_PAYLOAD = 32 << 20,    /* what every peer takes without being asked */
	NBD_HELLO_BYTES = 18,          /* magic, option magic, flags */
	NBD_OPT_HEADER_BYTES = 16,     /* magic, option, length */
	NBD_REP_HEADER_BYTES = 20,     /* magic, option, type, length */
	NBD_REQUEST_BYTES = 28,        /* magic, flags, type, cookie, offset, length */
	NBD_SIMPLE_BYTES = 16,         /* magic, error, cookie */
	NBD_CHUNK_BYTES = 20,          /* magic, flags, type, cookie, length */
	NBD_OLD_PAD_BYTES = 124,       /* zeroes after EXPORT_NAME unless NO_ZEROES */
};

#endif
