/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A port at work: command headers, FISes, PRD tables. AHCI 1.3.1, chapters 4 to 6. What
 * stands in guest memory is read once and believed only as far as it can be checked.
 */
#include "src/base/bits.h"
#include "src/dev/storage/ahci_priv.h"

#define CHUNK (512u << 10) /* bytes of one move */

#define HEADER_LEN 32u
#define HEADER_PACKET 0x20u
#define HEADER_CLEAR 0x400u /* busy, when the FIS is out */
#define TABLE_PACKET 0x40u
#define TABLE_PRDT 0x80u

#define FIS_H2D 0x27
#define FIS_D2H 0x34
#define FIS_PIO_SETUP 0x5f
#define FIS_SDB 0xa1
#define FIS_COMMAND 0x80u /* H2D, byte 1: the command register was written */
#define FIS_INT 0x40u     /* D2H, byte 1: interrupt */
#define CONTROL_SRST 0x04u

/* Where received FISes go: 4.2.1. */
#define RX_PIO_SETUP 0x20u
#define RX_D2H 0x40u
#define RX_SDB 0x58u

struct ata_dev *ahci_dev(const struct ahci_port *p)
{
	return p->hba->bus.dev[p->n];
}

static bool may_dma(const struct ahci_port *p)
{
	return pci_may_dma(&p->hba->pci);
}

/* A fault of the host bus, or of what software put in memory: 6.1. */
static void fatal(struct ahci_port *p, uint32_t bit, const char *what)
{
	log_guest(p->hba->env->log, &p->hba->limit, "ahci port %u: %s", p->n, what);
	p->halted = true;
	ahci_raise(p, bit);
}

/*
 * FISes to memory.
 */
static void receive(struct ahci_port *p, uint32_t at, const void *fis, uint32_t len)
{
	if (!(p->cmd & CMD_FRE))
		return;
	if (!may_dma(p) || mem_write(p->hba->env->mem, p->fb + at, fis, len) < 0)
		fatal(p, IS_HBFS, "its FIS area is no memory");
}

static void set_tfd(struct ahci_port *p, uint8_t status, uint8_t error)
{
	p->tfd = (uint32_t)error << 8 | status;
}

static void fill_fis(uint8_t fis[20], uint8_t type, const struct ata_tf *t)
{
	memset(fis, 0, 20);
	fis[0] = type;
	fis[2] = t->status;
	fis[3] = t->error;
	memcpy(fis + 4, t->lba, 3);
	fis[7] = t->device;
	memcpy(fis + 8, t->lba + 3, 3);
	fis[12] = t->count[0];
	fis[13] = t->count[1];
}

static void send_d2h(struct ahci_port *p, const struct ata_tf *t, bool interrupt)
{
	uint8_t fis[20];

	fill_fis(fis, FIS_D2H, t);
	fis[1] = interrupt ? FIS_INT : 0;
	set_tfd(p, t->status, t->error);
	receive(p, RX_D2H, fis, sizeof(fis));
	if (interrupt)
		ahci_raise(p, IS_DHRS);
}

static void send_pio_setup(struct ahci_port *p, const struct ata_tf *t, uint32_t len, bool in,
			   bool interrupt)
{
	uint8_t fis[20];

	fill_fis(fis, FIS_PIO_SETUP, t);
	fis[1] = (uint8_t)((in ? 0x20 : 0) | (interrupt ? FIS_INT : 0));
	fis[2] = ATA_ST_DRDY | ATA_ST_DRQ | ATA_ST_DSC;
	fis[15] = t->status; /* when the data is over */
	st_le16(fis + 16, (uint16_t)len);
	receive(p, RX_PIO_SETUP, fis, sizeof(fis));
	if (interrupt)
		ahci_raise(p, IS_PSS);
}

static void send_sdb(struct ahci_port *p, const struct ata_tf *t, uint32_t done)
{
	uint8_t fis[8] = { FIS_SDB, FIS_INT, t->status & 0x77, t->error };

	st_le32(fis + 4, done);
	p->sact &= ~done;
	p->tfd = (p->tfd & 0x88) | (uint32_t)t->error << 8 | (t->status & 0x77u);
	receive(p, RX_SDB, fis, sizeof(fis));
	ahci_raise(p, IS_SDBS);
}

void ahci_post_signature(struct ahci_port *p)
{
	if (!p->sig_pending || !(p->cmd & CMD_FRE))
		return;
	p->sig_pending = false;
	send_d2h(p, &p->sig_tf, false);
}

void ahci_port_link(struct ahci_port *p)
{
	struct ata_dev *d = ahci_dev(p);
	const struct ata_tf *t = &p->sig_tf;

	if (!d) {
		p->ssts = 0;
		p->sig = 0xffffffff;
		p->tfd = 0x7f;
		p->sig_pending = false;
		return;
	}
	p->ssts = 0x133; /* present, generation 3, active */
	ata_signature(d, &p->sig_tf);
	p->sig = t->count[0] | (uint32_t)t->lba[0] << 8 | (uint32_t)t->lba[1] << 16 |
		 (uint32_t)t->lba[2] << 24;
	set_tfd(p, t->status, t->error);
	p->sig_pending = true;
	ahci_post_signature(p);
}

/*
 * PRD tables.
 */

/* Moves up to @len bytes between @buf and the memory that the slot's table names next.
 * Returns their number: less when the table ends. -1: no memory there. */
static int64_t scatter(struct ahci_slot *s, uint8_t *buf, uint32_t len, bool to_memory)
{
	struct mem *mem = s->port->hba->env->mem;
	uint32_t done = 0;

	while (done < len && s->prd < s->prds) {
		uint8_t e[16];
		uint32_t size, n;
		gpa_t at;
		int ret;

		if (!may_dma(s->port) ||
		    mem_read(mem, s->table + TABLE_PRDT + 16ull * s->prd, e, sizeof(e)) < 0)
			return -1;
		/* Counts are of even length: bit 0 is as good as set. */
		size = (ld_le32(e + 12) & 0x3fffff) | 1;
		size++;
		if (s->prd_off >= size) { /* the table was changed under our hands */
			s->prd++;
			s->prd_off = 0;
			continue;
		}
		n = min_of(len - done, size - s->prd_off);
		at = (ld_le64(e) & ~1ull) + s->prd_off;
		ret = to_memory ? mem_write(mem, at, buf + done, n) : mem_read(mem, at, buf + done, n);
		if (ret < 0)
			return -1;
		done += n;
		s->prd_off += n;
		if (s->prd_off == size) {
			s->prd++;
			s->prd_off = 0;
		}
	}
	s->bytes += done;
	return done;
}

/*
 * Commands.
 */
static void release(struct ahci_slot *s)
{
	xfer_release(&s->cmd.x);
	s->active = s->moving = false;
}

void ahci_port_cancel(struct ahci_port *p)
{
	for (unsigned n = 0; n < AHCI_SLOTS; n++)
		if (p->slot[n].active)
			release(&p->slot[n]);
	p->busy = -1;
	p->running = 0;
}

static bool any_queued(const struct ahci_port *p)
{
	for (unsigned n = 0; n < AHCI_SLOTS; n++)
		if (p->slot[n].active && (int)n != p->busy)
			return true;
	return false;
}

static unsigned number(const struct ahci_slot *s)
{
	return (unsigned)(s - s->port->slot);
}

static void finish_queued(struct ahci_slot *s)
{
	struct ahci_port *p = s->port;
	bool failed = s->cmd.tf.status & ATA_ST_ERR;

	release(s);
	/* A failed command's bit stays: the host asks the device's log which it was. */
	send_sdb(p, &s->cmd.tf, failed ? 0 : 1u << number(s));
	if (!failed)
		return;
	p->halted = true;
	ahci_raise(p, IS_TFES);
}

static void finish(struct ahci_slot *s)
{
	struct ahci_port *p = s->port;
	struct ata_cmd *c = &s->cmd;
	bool failed = c->tf.status & ATA_ST_ERR;
	bool pio_in = c->proto == ATA_PROTO_PIO && c->x.dir == XFER_IN && c->x.moved;
	uint8_t bytes[4];

	st_le32(bytes, s->bytes);
	if (may_dma(p) && mem_write(p->hba->env->mem, p->clb + number(s) * HEADER_LEN + 4, bytes,
				    4) < 0)
		fatal(p, IS_HBFS, "its command list is no memory");
	if (c->queued) {
		finish_queued(s);
		return;
	}
	release(s);
	p->busy = -1;
	if (!failed)
		p->ci &= ~(1u << number(s));
	if (pio_in && !failed) {
		/* With data in by PIO the last word is the setup FIS'; a packet has one more. */
		send_pio_setup(p, &c->tf, s->bytes, true, !c->in_packet);
		set_tfd(p, c->tf.status, c->tf.error);
		if (c->in_packet)
			send_d2h(p, &c->tf, true);
	} else {
		send_d2h(p, &c->tf, true);
	}
	if (failed) {
		p->halted = true;
		ahci_raise(p, IS_TFES);
	}
}

/* Memory that is none: the command cannot go on. */
static void bus_error(struct ahci_slot *s)
{
	struct ahci_port *p = s->port;

	if (p->busy == (int)number(s))
		p->busy = -1;
	release(s);
	fatal(p, IS_HBDS, "a command's data is no memory");
}

/* One step in XFER_DATA; false: the command is gone. */
static bool data_step(struct ahci_slot *s)
{
	struct ata_cmd *c = &s->cmd;
	struct xfer *x = &c->x;
	int64_t got;
	uint32_t n;

	if (c->proto == ATA_PROTO_PACKET && !c->in_packet) {
		ata_packet(c->dev, c);
		return true;
	}
	if (s->moving && x->dir == XFER_IN) {
		s->moving = false;
		got = scatter(s, x->buf->data, x->buf_len, true);
		if (got < 0) {
			bus_error(s);
			return false;
		}
		if (got < x->buf_len)
			ahci_raise(s->port, IS_OFS);
		if (x->moved == x->len) {
			xfer_finish(x);
			return true;
		}
	}
	n = xfer_next(x, CHUNK);
	if (!xfer_reserve(x, n)) {
		ata_fail(c, ATA_ER_ABRT);
		return true;
	}
	if (x->dir == XFER_OUT) {
		got = scatter(s, x->buf->data, n, false);
		if (got < 0) {
			bus_error(s);
			return false;
		}
		if (got < n) { /* the device waits for data that never comes */
			ahci_raise(s->port, IS_OFS);
			ata_fail(c, ATA_ER_ABRT);
			return true;
		}
	}
	s->moving = true;
	xfer_move(x, n);
	return true;
}

static void drive(struct ahci_slot *s)
{
	while (s->active && s->cmd.x.phase == XFER_DATA)
		if (!data_step(s))
			return;
	if (s->active && s->cmd.x.phase == XFER_END)
		finish(s);
}

static void on_ready(struct xfer *x)
{
	struct ahci_slot *s = container_of(x, struct ahci_slot, cmd.x);
	struct ahci_port *p = s->port;

	drive(s);
	ahci_port_run(p);
}

/* SRST set, then clear: the device starts anew and sends its signature. */
static void control_fis(struct ahci_port *p, unsigned slot, uint8_t control, bool clear_busy)
{
	struct ata_dev *d = ahci_dev(p);

	p->ci &= ~(1u << slot);
	if (control & CONTROL_SRST) {
		ahci_port_cancel(p);
		p->srst = true;
		set_tfd(p, clear_busy ? 0x7f & ~(ATA_ST_BSY | ATA_ST_DRQ) : ATA_ST_BSY, 0);
	} else if (p->srst) {
		p->srst = false;
		d->ops->reset(d, false);
		ahci_port_link(p);
	}
}

static void take_tf(struct ata_tf *t, const uint8_t *fis)
{
	*t = (struct ata_tf){
		.command = fis[2], .device = fis[7], .feature = { fis[3], fis[11] },
		.lba = { fis[4], fis[5], fis[6], fis[8], fis[9], fis[10] },
		.count = { fis[12], fis[13] },
	};
}

/* Takes slot @n's command from memory and begins it. @again: after a restore. */
static void issue(struct ahci_port *p, unsigned n, bool again)
{
	struct ahci_slot *s = &p->slot[n];
	struct mem *mem = p->hba->env->mem;
	struct ata_cmd *c = &s->cmd;
	uint8_t header[HEADER_LEN], table[TABLE_PACKET + 16];
	uint32_t dw0;

	p->ccs = (uint8_t)n;
	if (!may_dma(p) || mem_read(mem, p->clb + n * HEADER_LEN, header, sizeof(header)) < 0) {
		fatal(p, IS_HBFS, "its command list is no memory");
		return;
	}
	dw0 = ld_le32(header);
	s->table = ld_le64(header + 8) & ~0x7full;
	if (mem_read(mem, s->table, table, sizeof(table)) < 0) {
		fatal(p, IS_HBFS, "a command table is no memory");
		return;
	}
	if (table[0] != FIS_H2D || (dw0 & 31) < 5 || (dw0 & 31) > 16) {
		fatal(p, IS_IFS, "a command's FIS is none from host to device");
		return;
	}
	if (!(table[1] & FIS_COMMAND)) {
		control_fis(p, n, table[15], dw0 & HEADER_CLEAR);
		return;
	}
	s->active = true;
	s->moving = false;
	s->prds = dw0 >> 16;
	s->prd = s->prd_off = s->bytes = 0;
	take_tf(&c->tf, table);
	memcpy(c->packet, table + TABLE_PACKET, 16);
	c->x.ready = on_ready;
	p->busy = (int)n;
	if (c->tf.command != 0x60 && c->tf.command != 0x61 && any_queued(p)) {
		/* ACS-3, 4.16: not while queued commands are under way. */
		c->queued = c->in_packet = false;
		c->x = (struct xfer){ .ready = on_ready, .buf = c->x.buf };
		c->proto = ATA_PROTO_NODATA;
		ata_fail(c, ATA_ER_ABRT);
		finish(s);
		return;
	}
	if (c->tf.command == ATA_CMD_PACKET && !(dw0 & HEADER_PACKET)) {
		c->queued = false;
		p->busy = -1;
		release(s);
		fatal(p, IS_IFS, "a packet command has no packet");
		return;
	}
	p->tfd = (p->tfd & ~0xffu) | ATA_ST_BSY | (p->tfd & 0x7f & ~ATA_ST_ERR);
	ata_start(ahci_dev(p), c);
	if (c->queued) {
		p->busy = -1;
		if (c->tag != n || (!again && !(p->sact >> n & 1))) {
			release(s);
			fatal(p, IS_IFS, "a queued command's tag is not its slot's");
			return;
		}
		/* The device has taken it in and is free for the next. */
		p->ci &= ~(1u << n);
		if (!again) {
			struct ata_tf ok = c->tf;

			ok.status = ATA_ST_DRDY | ATA_ST_DSC;
			ok.error = 0;
			send_d2h(p, &ok, false);
		}
	}
	drive(s);
}

void ahci_port_run(struct ahci_port *p)
{
	while (p->cmd & CMD_ST && !p->halted && p->busy < 0 && ahci_dev(p) && p->ssts & 15) {
		uint32_t waiting = p->ci;
		unsigned n;

		for (unsigned i = 0; i < AHCI_SLOTS; i++)
			if (p->slot[i].active)
				waiting &= ~(1u << i);
		if (!waiting)
			return;
		/* In turn, from the one after the last. */
		n = (p->ccs + 1u) & 31;
		while (!(waiting >> n & 1))
			n = (n + 1) & 31;
		issue(p, n, false);
	}
}

void ahci_port_restart(struct ahci_port *p)
{
	uint32_t again = p->running & ~p->ci;

	p->running = 0;
	for (unsigned n = 0; n < AHCI_SLOTS; n++)
		if (again >> n & 1 && !p->slot[n].active && ahci_dev(p))
			issue(p, n, true);
	ahci_port_run(p);
}
