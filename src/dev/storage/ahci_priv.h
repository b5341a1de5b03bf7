/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between ahci.c (the controller, its registers) and ahci_port.c (commands). */
#ifndef BOTHY_DEV_STORAGE_AHCI_PRIV_H
#define BOTHY_DEV_STORAGE_AHCI_PRIV_H

#include "src/dev/storage/ahci.h"

#define GHC_HR 0x1u
#define GHC_IE 0x2u
#define GHC_AE 0x80000000u

/* PxIS. */
#define IS_DHRS 0x00000001u
#define IS_PSS 0x00000002u
#define IS_SDBS 0x00000008u
#define IS_PCS 0x00000040u  /* follows PxSERR.DIAG.X */
#define IS_PRCS 0x00400000u /* follows PxSERR.DIAG.N */
#define IS_OFS 0x01000000u
#define IS_IFS 0x08000000u
#define IS_HBDS 0x10000000u
#define IS_HBFS 0x20000000u
#define IS_TFES 0x40000000u
#define IS_ALL 0xfdc000ffu

/* PxCMD. */
#define CMD_ST 0x00000001u
#define CMD_SUD 0x00000002u
#define CMD_POD 0x00000004u
#define CMD_CLO 0x00000008u
#define CMD_FRE 0x00000010u
#define CMD_FR 0x00004000u
#define CMD_CR 0x00008000u
#define CMD_ATAPI 0x01000000u
#define CMD_DLAE 0x02000000u
#define CMD_ALPE 0x04000000u
#define CMD_ASP 0x08000000u

#define SERR_DIAG_N 0x00010000u
#define SERR_DIAG_X 0x04000000u

/* The port's interrupt bits @bits come up. */
void ahci_raise(struct ahci_port *p, uint32_t bits);
/* PxIS' read-only bits follow PxSERR. */
void ahci_serr_changed(struct ahci_port *p);

struct ata_dev *ahci_dev(const struct ahci_port *p);
void ahci_port_cancel(struct ahci_port *p);  /* every command is forgotten */
void ahci_port_run(struct ahci_port *p);     /* issues what can be issued */
void ahci_port_restart(struct ahci_port *p); /* p->running once more */
/* The link comes up: the device's signature arrives (AHCI 10.1). */
void ahci_port_link(struct ahci_port *p);
void ahci_post_signature(struct ahci_port *p);

#endif
