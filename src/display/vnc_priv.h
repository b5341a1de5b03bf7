/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between the files of the VNC server. */
#ifndef BOTHY_DISPLAY_VNC_PRIV_H
#define BOTHY_DISPLAY_VNC_PRIV_H

#include <pthread.h>

#include "src/base/accept.h"
#include "src/display/vnc.h"
#include "src/display/vnc_enc.h"
#include "src/display/vnc_ws.h"

#define VNC_CLIENTS_MAX 64u
#define VNC_TILE 16u
#define VNC_CHALLENGE 16u
#define VNC_ENCODINGS_MAX 1024u
/* A viewer that is connected but says nothing yet waits this long for the greeting;
 * a browser speaks first. */
#define VNC_DETECT_MS 100
#define VNC_HANDSHAKE_MS 60000
/* Pixels of an update; what does not fit comes with the next one. */
#define VNC_UPDATE_PIXELS (1u << 19)

enum vnc_state {
	VNC_DETECT,    /* RFB or HTTP? */
	VNC_HTTP,      /* the rest of the request */
	VNC_VERSION,
	VNC_SECURITY,  /* the client picks a type */
	VNC_AUTH,      /* its response to the challenge */
	VNC_INIT,
	VNC_RUNNING,
};

/* An update on its way through the worker. */
struct vnc_job {
	struct vnc_client *client;
	struct vnc_enc *enc; /* the client's: while the job is under way the worker's alone */
	struct vnc_format format;
	int32_t encoding;
	int level;
	struct vnc_buf out;  /* begins with what the loop put there */
	struct rect *rects;
	uint32_t *pixels;    /* of all of them, one after the other */
	size_t count, cap, pixel_count, pixel_cap;
	int error;
	struct vnc_job *next;
};

struct vnc_worker {
	pthread_t thread;
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t cond;
	struct vnc_job *todo, *done;
	bool stop;
	bool started;
	int event_fd; /* readable when there is something done */
};

struct vnc_client {
	struct vnc *vnc;
	struct vnc_client *next;
	int fd;
	enum vnc_state state;
	bool gone;       /* to be freed once nobody stands on it */
	bool closing;    /* goes once what waits is sent */
	bool websocket;
	struct vnc_ws ws;
	int64_t since_ms; /* when it connected */
	struct vnc_peer peer;
	struct vnc_buf in;   /* RFB bytes that wait for the rest of their message */
	struct vnc_buf msg;  /* what is being composed */
	struct vnc_buf out;  /* on its way; out_pos bytes are gone */
	size_t out_pos;
	unsigned minor;      /* 3, 7 or 8 */
	uint8_t challenge[VNC_CHALLENGE];
	uint64_t skip;       /* bytes of a message that nobody wants */
	struct vnc_format format; /* what it asks for; the encoder gets copies */
	int32_t encoding;
	int level;
	struct vnc_enc enc;  /* the worker's while @encoding_now */
	bool encoding_now;
	bool has_resize, has_ext_resize, has_ext_key, has_motion;
	bool told_absolute;  /* what it believes of the pointer */
	unsigned w, h;       /* the screen's size as it knows it */
	bool resize_due, ext_resize_due;
	uint16_t resize_reason, resize_status;
	bool map_due;        /* the colours of a mapped format */
	bool wants;          /* asked for an update */
	uint8_t *tiles;      /* of tiles_w * tiles_h: what it does not know yet */
	unsigned tiles_w, tiles_h;
	unsigned buttons;
	bool shift, caps;
};

struct vnc {
	struct vnc_config cfg;
	char *name, *where, *unlink_path;
	struct acceptor acceptor; /* its socket is ours */
	int timer_fd;
	struct vnc_worker worker;
	unsigned interval_ms;  /* of the timer; 0: off */
	unsigned idle;         /* refreshes in a row that changed nothing */
	bool dirty_seen;
	struct vnc_client *clients;
	unsigned count;
	struct surface *surface;
	struct surface_listener listener;
	char *password;        /* NULL: none */
	unsigned failures;     /* wrong passwords lately */
	int64_t failed_ms;
	bool ending;           /* in vnc_free() */
	bool busy;             /* inside a callback: the list is swept at its end */
};

int64_t vnc_now_ms(void);

/* vnc.c */
void vnc_tell(struct vnc_client *c, enum vnc_event ev);
unsigned vnc_width(const struct vnc *v);
unsigned vnc_height(const struct vnc *v);
void vnc_wake(struct vnc *v); /* something may be to draw */

/* vnc_listen.c: an open, listening, non-blocking socket. */
int must_check vnc_listen(const char *where, int *fd, char **name, char **unlink_path,
			  struct err *err);

/* vnc_client.c: connections. */
struct vnc_client *vnc_client_new(struct vnc *v, int fd);
void vnc_client_free(struct vnc_client *c);
void vnc_client_drop(struct vnc_client *c);
void vnc_client_start(struct vnc_client *c);  /* greets it, RFB */
void vnc_client_send(struct vnc_client *c);   /* what is in msg */
int must_check vnc_client_mark(struct vnc_client *c, const struct rect *r);
void vnc_client_resized(struct vnc_client *c);

/* vnc_msg.c: what the client says. Takes as many whole messages from c->in as there
 * are. -EPROTO with a reason: it must go. */
int must_check vnc_client_parse(struct vnc_client *c, struct err *err);

/* vnc_update.c: sends an update if one is due and the last is gone. */
void vnc_client_update(struct vnc_client *c);
void vnc_client_tell_pointer(struct vnc_client *c);

/* A job is done: its bytes go out. Frees it. */
void vnc_client_encoded(struct vnc_job *j);

/* vnc_worker.c. stop() drops what is under way; event_fd is -1 before start(). */
int must_check vnc_worker_start(struct vnc_worker *w);
void vnc_worker_stop(struct vnc_worker *w);
void vnc_worker_add(struct vnc_worker *w, struct vnc_job *j); /* takes it over */
struct vnc_job *vnc_worker_done(struct vnc_worker *w); /* the caller's; NULL: none */
void vnc_job_free(struct vnc_job *j);

/* vnc_auth.c */
void vnc_auth_challenge(uint8_t challenge[VNC_CHALLENGE]);
bool vnc_auth_check(const char *password, const uint8_t challenge[VNC_CHALLENGE],
		    const uint8_t response[VNC_CHALLENGE]);
/* The first line of a file. */
int must_check vnc_password_read(const char *path, char **password, struct err *err);

#endif
