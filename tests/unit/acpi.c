/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The AML builder and the ACPI tables. Where iasl is installed it must find the
 * tables in order, too. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/base/bits.h"
#include "src/dev/acpi/aml.h"
#include "src/dev/acpi/tables.h"
#include "tests/unit/cmocka_all.h"

static const struct acpi_config full = {
	.cpus = 255, .ecam_base = 0xb0000000, .pci_mem32 = { 0xc0000000, 0x3ec00000 },
	.pci_mem64 = { 0x800000000, 0x800000000 }, .pm_base = 0x600, .sci_irq = 9,
	.hpet_base = 0xfed00000, .serial_ports = 3, .i8042 = true, .rtc = true, .s3 = true,
	.pvpanic_port = 0x505,
};

#define EXPECT(a, ...)                                                              \
	do {                                                                        \
		static const uint8_t want_[] = { __VA_ARGS__ };                     \
		assert_false((a)->failed);                                          \
		assert_int_equal((a)->len, sizeof(want_));                          \
		assert_memory_equal((a)->data, want_, sizeof(want_));               \
		aml_fini(a);                                                        \
	} while (0)

/* Bytes by hand from ACPI 6.4, chapter 20. */
static void test_aml(void **state)
{
	struct aml a = { 0 };
	size_t p, q;

	aml_ref(&a, "\\_SB.PCI0");
	EXPECT(&a, '\\', 0x2e, '_', 'S', 'B', '_', 'P', 'C', 'I', '0');
	aml_ref(&a, "^A.BC.DEF");
	EXPECT(&a, '^', 0x2f, 3, 'A', '_', '_', '_', 'B', 'C', '_', '_', 'D', 'E', 'F', '_');
	aml_int(&a, 0);
	aml_int(&a, 1);
	aml_int(&a, 0xff);
	aml_int(&a, 0x100);
	aml_int(&a, 0x10000);
	aml_int(&a, 0x100000000);
	EXPECT(&a, 0x00, 0x01, 0x0a, 0xff, 0x0b, 0x00, 0x01, 0x0c, 0, 0, 1, 0, 0x0e, 0, 0, 0, 0,
	       1, 0, 0, 0);
	aml_eisaid(&a, "PNP0A08");
	EXPECT(&a, 0x0c, 0x41, 0xd0, 0x0a, 0x08);
	aml_name(&a, "_S5");
	p = aml_package_begin(&a, 2);
	aml_int(&a, 5);
	aml_int(&a, 0);
	aml_end(&a, p);
	EXPECT(&a, 0x08, '_', 'S', '5', '_', 0x12, 0x05, 0x02, 0x0a, 0x05, 0x00);
	aml_uuid(&a, "00112233-4455-6677-8899-aabbccddeeff");
	EXPECT(&a, 0x11, 0x13, 0x0a, 0x10, 0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66, 0x88,
	       0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff);
	p = aml_resources_begin(&a);
	aml_res_io(&a, 0x3f8, 8);
	aml_res_irq(&a, 4);
	aml_resources_end(&a, p);
	EXPECT(&a, 0x11, 0x11, 0x0b, 0x0d, 0x00, 0x47, 0x01, 0xf8, 0x03, 0xf8, 0x03, 0x01, 0x08,
	       0x22, 0x10, 0x00, 0x79, 0x00);
	aml_region(&a, "REG", 1, 0x600, 4);
	p = aml_field_begin(&a, "REG", 1);
	aml_field_unit(&a, "AB", 8);
	aml_field_unit(&a, NULL, 100);
	aml_end(&a, p);
	EXPECT(&a, 0x5b, 0x80, 'R', 'E', 'G', '_', 1, 0x0b, 0x00, 0x06, 0x0a, 0x04, 0x5b, 0x81,
	       0x0e, 'R', 'E', 'G', '_', 1, 'A', 'B', '_', '_', 0x08, 0x00, 0x44, 0x06);
	/* Lengths at the borders of their encodings. */
	for (size_t len = 50; len < 5000; len += len < 80 || len > 4070 ? 1 : 97) {
		uint32_t got, extra;

		p = aml_scope_begin(&a, "X");
		q = a.len;
		while (a.len - q < len)
			aml_op(&a, 0xa3);
		aml_end(&a, p);
		extra = a.data[1] >> 6;
		got = extra ? a.data[1] & 0xf : a.data[1];
		for (uint32_t n = 0; n < extra; n++)
			got |= (uint32_t)a.data[2 + n] << (4 + 8 * n);
		assert_int_equal(got, a.len - 1);
		assert_int_equal(got, len + 5 + extra);
		assert_true(extra == 0 || got >= (extra == 1 ? 0x40u : 0x1000u));
		aml_fini(&a);
	}
	aml_ref(&a, "TOOLONG");
	assert_true(a.failed);
	aml_fini(&a);
	aml_eisaid(&a, "PNP");
	assert_true(a.failed);
	aml_fini(&a);
}

static uint8_t sum(const uint8_t *p, size_t len)
{
	uint8_t s = 0;

	while (len--)
		s += *p++;
	return s;
}

struct placed {
	uint8_t buf[65536];
	gpa_t base, rsdp;
	int len;
};

static const uint8_t *at(const struct placed *p, uint64_t gpa)
{
	assert_in_range(gpa, p->base, p->base + (uint64_t)p->len - 36);
	return p->buf + (gpa - p->base);
}

static const uint8_t *table(const struct placed *p, uint64_t gpa, const char *signature)
{
	const uint8_t *t = at(p, gpa);

	assert_memory_equal(t, signature, 4);
	assert_in_range(ld_le32(t + 4), 36, (uint64_t)p->len - (gpa - p->base));
	assert_int_equal(sum(t, ld_le32(t + 4)), 0);
	assert_int_equal(gpa & 15, 0);
	return t;
}

static const uint8_t *find(const struct placed *p, const char *signature)
{
	const uint8_t *x = table(p, ld_le64(at(p, p->rsdp) + 24), "XSDT");

	for (size_t n = 36; n < ld_le32(x + 4); n += 8)
		if (memcmp(at(p, ld_le64(x + n)), signature, 4) == 0)
			return table(p, ld_le64(x + n), signature);
	return NULL;
}

static struct placed *place(const struct acpi_config *cfg, gpa_t base)
{
	struct placed *p = calloc(1, sizeof(*p));
	struct err err = { "" };

	p->base = base;
	p->len = acpi_tables_build(cfg, p->buf, sizeof(p->buf), base, &p->rsdp, &err);
	if (p->len < 0)
		fail_msg("%s", err.text);
	return p;
}

static void test_tables(void **state)
{
	struct placed *p = place(&full, 0x7ffe0000);
	const uint8_t *r = at(p, p->rsdp), *x, *s, *fadt, *madt;
	unsigned cpus = 0, overrides = 0, ioapics = 0, nmis = 0;

	assert_memory_equal(r, "RSD PTR ", 8);
	assert_int_equal(p->rsdp & 15, 0);
	assert_int_equal(sum(r, 20), 0);
	assert_int_equal(sum(r, 36), 0);
	assert_int_equal(r[15], 2);
	x = table(p, ld_le64(r + 24), "XSDT");
	s = table(p, ld_le32(r + 16), "RSDT");
	assert_int_equal((ld_le32(x + 4) - 36) / 8, 4);
	for (unsigned n = 0; n < 4; n++)
		assert_int_equal(ld_le64(x + 36 + 8 * n), ld_le32(s + 36 + 4 * n));
	fadt = find(p, "FACP");
	assert_int_equal(ld_le32(fadt + 4), 268);
	assert_int_equal(ld_le32(fadt + 40), ld_le64(fadt + 140));
	table(p, ld_le64(fadt + 140), "DSDT");
	assert_memory_equal(at(p, ld_le32(fadt + 36)), "FACS", 4);
	assert_int_equal(ld_le32(fadt + 36) & 63, 0);
	assert_int_equal(ld_le32(fadt + 76), 0x608);
	assert_int_equal(ld_le32(find(p, "HPET") + 36), 0x8086a201);
	assert_int_equal(ld_le64(find(p, "MCFG") + 44), 0xb0000000);
	madt = find(p, "APIC");
	for (size_t n = 44; n < ld_le32(madt + 4); n += madt[n + 1]) {
		assert_int_not_equal(madt[n + 1], 0);
		if (madt[n] == 0)
			assert_int_equal(madt[n + 3], cpus++);
		overrides += madt[n] == 2;
		ioapics += madt[n] == 1;
		nmis += madt[n] == 4;
	}
	assert_int_equal(cpus, 255);
	assert_int_equal(overrides, 2);
	assert_int_equal(ioapics, 1);
	assert_int_equal(nmis, 1);
	free(p);
}

/* What a loader gets from relocating by itself is what we place. */
static void test_relocation(void **state)
{
	struct placed *p = place(&full, 0xc0000);
	struct acpi_blob b;

	assert_int_equal(acpi_blob_init(&b, &full, NULL), 0);
	assert_int_equal(b.len, p->len);
	assert_memory_not_equal(b.data, p->buf, b.len);
	for (size_t n = 0; n < b.nreloc; n++) {
		assert_true(b.reloc[n].width == 4 || b.reloc[n].width == 8);
		assert_true(b.reloc[n].at + b.reloc[n].width <= b.len);
	}
	acpi_blob_place(&b, 0xc0000);
	assert_memory_equal(b.data, p->buf, b.len);
	acpi_blob_fini(&b);
	free(p);
}

static void test_refusals(void **state)
{
	struct acpi_config c = full;
	struct err err = { "" };
	uint8_t buf[64];
	gpa_t rsdp;

	assert_int_equal(acpi_tables_build(&c, buf, sizeof(buf), 0xe0000, &rsdp, &err), -ENOSPC);
	assert_non_null(strstr(err.text, "there is room for 64"));
	c.cpus = 0;
	assert_int_equal(acpi_tables_build(&c, buf, sizeof(buf), 0xe0000, &rsdp, &err), -EINVAL);
	c.cpus = 256;
	assert_int_equal(acpi_tables_build(&c, buf, sizeof(buf), 0xe0000, &rsdp, &err), -EINVAL);
	c = full;
	c.pci_mem32.len = 0x80000000;
	assert_int_equal(acpi_tables_build(&c, buf, sizeof(buf), 0xe0000, &rsdp, &err), -EINVAL);
}

static void test_small(void **state)
{
	const struct acpi_config c = { .cpus = 1, .pm_base = 0x600, .sci_irq = 9 };
	struct placed *p = place(&c, 0xe0000);

	assert_null(find(p, "MCFG"));
	assert_null(find(p, "HPET"));
	assert_non_null(find(p, "APIC"));
	free(p);
}

/* Disassembles and compiles again; any complaint fails. */
static void check_with_iasl(const struct placed *p, const uint8_t *t, const char *dir)
{
	char cmd[512];
	FILE *f;
	int r;

	snprintf(cmd, sizeof(cmd), "%s/t.dat", dir);
	f = fopen(cmd, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(t, 1, ld_le32(t + 4), f), ld_le32(t + 4));
	fclose(f);
	snprintf(cmd, sizeof(cmd),
		 "cd %s && iasl -d t.dat >log 2>&1 && iasl -f t.dsl >>log 2>&1 && "
		 "! grep -E '(Error|Warning|Remark) +[0-9]|Checksum.*Incorrect|\\*\\*\\*\\*' log",
		 dir);
	r = system(cmd);
	if (!WIFEXITED(r) || WEXITSTATUS(r) != 0)
		fail_msg("iasl complains about %.4s", (const char *)t);
}

static void test_iasl(void **state)
{
	static const char *const names[] = { "FACP", "APIC", "MCFG", "HPET" };
	char dir[] = "/tmp/bothy-acpi-XXXXXX", cmd[64];
	struct placed *p;

	if (system("command -v iasl >/dev/null") != 0)
		skip();
	assert_non_null(mkdtemp(dir));
	p = place(&full, 0xe0000);
	for (size_t n = 0; n < array_size(names); n++)
		check_with_iasl(p, find(p, names[n]), dir);
	check_with_iasl(p, at(p, ld_le64(find(p, "FACP") + 140)), dir);
	free(p);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	assert_int_equal(system(cmd), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_aml), cmocka_unit_test(test_tables),
		cmocka_unit_test(test_relocation), cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_small), cmocka_unit_test(test_iasl),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
