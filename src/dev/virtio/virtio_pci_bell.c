/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Notifications that an engine catches: one eventfd for the device's queues, read on the
 * event loop, while the processor goes on. Which queue it was is not told; asking one
 * that has nothing new costs little.
 */
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "src/base/loop.h"
#include "src/dev/virtio/virtio_pci_priv.h"

static void rung(void *opaque, uint32_t events)
{
	struct virtio_pci *p = opaque;
	eventfd_t n;

	if (eventfd_read(p->bell_fd, &n) < 0)
		return;
	for (unsigned q = 0; q < p->v->nvq; q++)
		virtio_notify(p->v, q);
}

void virtio_pci_bells_add(struct virtio_pci *p)
{
	struct loop *loop = p->v->env->loop;
	unsigned nvq = p->v->nvq;

	p->bell_fd = loop ? eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) : -1;
	if (p->bell_fd < 0)
		return;
	p->bells = calloc(nvq + 1, sizeof(*p->bells));
	if (!p->bells || loop_fd_set(loop, p->bell_fd, EPOLLIN, rung, p) < 0) {
		free(p->bells);
		p->bells = NULL;
		close(p->bell_fd);
		p->bell_fd = -1;
		return;
	}
	for (unsigned q = 0; q < nvq; q++)
		p->bells[q] = (struct bus_doorbell){
			VIRTIO_PCI_MODERN_NOTIFY + VIRTIO_PCI_NOTIFY_STEP * q, 0, p->bell_fd,
		};
	p->bells[nvq] = (struct bus_doorbell){ VIRTIO_PCI_LEGACY_NOTIFY, 2, p->bell_fd };
	if (p->has_modern) {
		p->pci.bar[MODERN_BAR].range.doorbell = p->bells;
		p->pci.bar[MODERN_BAR].range.ndoorbells = nvq;
	}
	if (p->has_legacy) {
		p->pci.bar[LEGACY_BAR].range.doorbell = &p->bells[nvq];
		p->pci.bar[LEGACY_BAR].range.ndoorbells = 1;
	}
}

/* The BARs are off the bus. */
void virtio_pci_bells_del(struct virtio_pci *p)
{
	if (!p->bells)
		return;
	loop_fd_del(p->v->env->loop, p->bell_fd);
	close(p->bell_fd);
	free(p->bells);
	p->bells = NULL;
	p->bell_fd = -1;
}

void virtio_pci_bells_ring(struct virtio_pci *p)
{
	if (p->bells && eventfd_write(p->bell_fd, 1) < 0)
		log_warn(p->v->env->log, "%s: its doorbell is stuck", p->v->name);
}
