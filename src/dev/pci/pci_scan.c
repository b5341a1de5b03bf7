/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "src/dev/pci/pci_scan.h"

#include "src/base/bits.h"

void pci_each(struct pci_bus *b, void (*fn)(void *opaque, struct pci_dev *d), void *opaque)
{
	for (size_t n = 0; n < array_size(b->dev); n++) {
		struct pci_dev *d = b->dev[n];

		if (!d)
			continue;
		fn(opaque, d);
		if (d->behind)
			pci_each(d->behind, fn, opaque);
	}
}

struct class_search {
	uint8_t class;
	bool found;
};

static void look_at_class(void *opaque, struct pci_dev *d)
{
	struct class_search *s = opaque;

	s->found |= d->config[PCI_CLASS_DEVICE + 1] == s->class;
}

bool pci_has_class(struct pci_bus *root, uint8_t class)
{
	struct class_search s = { class, false };

	pci_each(root, look_at_class, &s);
	return s.found;
}

struct span {
	uint64_t first, last;
};

static void widen(struct span *s, uint64_t first, uint64_t last)
{
	if (first < 1ull << 32 || last < first)
		return;
	s->first = min_of(s->first, first);
	s->last = max_of(s->last, last);
}

static void look_at_bars(void *opaque, struct pci_dev *d)
{
	struct span *s = opaque;
	uint64_t addr, last;

	for (unsigned n = 0; n < PCI_BARS; n++)
		if (!(d->bar[n].flags & PCI_BAR_IO) && pci_bar_address(d, n, &addr))
			widen(s, addr, addr + d->bar[n].size - 1);
	if (d->behind && pci_bridge_prefetch_window(d, &addr, &last))
		widen(s, addr, last);
}

bool pci_mem64_span(struct pci_bus *root, uint64_t *first, uint64_t *last)
{
	struct span s = { UINT64_MAX, 0 };

	pci_each(root, look_at_bars, &s);
	*first = s.first;
	*last = s.last;
	return s.last != 0;
}
