# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests of run.py on virtio devices: disks with a file system, the user's network, ports."""
import hashlib
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import urllib.request

from machine import Failure, Machine


def want(condition, text):
    if not condition:
        raise Failure(text)


def machine(runner, guest, extra, cpus=1):
    return Machine(runner, kernel=guest.kernel, initrd=guest.initrd, memory="512M", cpus=cpus,
                   append="console=ttyS0 panic=-1", extra=extra)


def run(m, command, seconds=120):
    code, out = m.sh(command, seconds)
    want(code == 0, "'%s' ended with %d: %s" % (command, code, out[-300:]))
    return out


def power_off(m):
    m.send("poweroff\n")
    want(m.finish() == 0, "poweroff ended with another exit code than 0")


def image(folder, name, mib=64):
    path = os.path.join(folder, name)
    with open(path, "wb") as f:
        f.truncate(mib << 20)
    tool = shutil.which("mkfs.ext4", path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    subprocess.run([tool, "-q", "-F", path], check=True)
    return path


def fsck(path):
    tool = shutil.which("e2fsck", path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    p = subprocess.run([tool, "-f", "-n", path], capture_output=True, text=True, check=False)
    want(p.returncode == 0, "the file system is damaged: " + p.stdout[-300:])


def disk(runner, guest, bus, dev, cpus, options=""):
    """Written, synced, unmounted, read back; again after a restart; whole in the end."""
    with tempfile.TemporaryDirectory(prefix="bothy-disk-") as folder:
        path = image(folder, "disk.img")
        extra = ("--disk", "%s,format=raw,bus=%s%s" % (path, bus, options))
        with machine(runner, guest, extra, cpus) as m:
            m.wait_prompt(300)
            run(m, "mkdir -p /mnt; mount -t ext4 %s /mnt" % dev)
            run(m, "dd if=/dev/urandom of=/mnt/f bs=64k count=128 2>/dev/null; sync")
            digest = run(m, "md5sum /mnt/f").split()[0]
            run(m, "umount /mnt; echo 3 >/proc/sys/vm/drop_caches; mount -t ext4 %s /mnt" % dev)
            want(run(m, "md5sum /mnt/f").split()[0] == digest, "other bytes were read back")
            run(m, "for n in $(seq %d); do dd if=/dev/urandom of=/mnt/p$n bs=64k count=32 "
                   "2>/dev/null & done; wait; sync; umount /mnt" % cpus)
            power_off(m)
        fsck(path)
        with machine(runner, guest, extra, cpus) as m:
            m.wait_prompt(300)
            run(m, "mkdir -p /mnt; mount -t ext4 %s /mnt" % dev)
            want(run(m, "md5sum /mnt/f").split()[0] == digest, "other bytes after a restart")
            run(m, "rm /mnt/p*; umount /mnt")
            power_off(m)
        fsck(path)


def virtio_blk(runner, guest):
    """A file system on virtio-blk, one vCPU."""
    disk(runner, guest, "virtio", "/dev/vda", 1)


def virtio_blk_smp(runner, guest):
    """The same with two vCPUs, two queues, packed rings."""
    disk(runner, guest, "virtio", "/dev/vda", 2, ",num-queues=2,packed=on")


def virtio_blk_legacy(runner, guest):
    """The same through the legacy interface."""
    disk(runner, guest, "virtio", "/dev/vda", 1, ",disable-modern=on")


def virtio_scsi(runner, guest):
    """A file system on virtio-scsi, two vCPUs."""
    disk(runner, guest, "scsi", "/dev/sda", 2)


def serve(data):
    """Answers every request on a port of the loopback address with @data."""
    listener = socket.create_server(("127.0.0.1", 0))

    def loop():
        while True:
            try:
                c, _ = listener.accept()
            except OSError:
                return
            try:
                c.recv(4096)
                c.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + data)
            except OSError:
                pass
            c.close()

    threading.Thread(target=loop, daemon=True).start()
    return listener


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def user_network(runner, guest):
    """DHCP, the host's loopback from inside, a forwarded port from outside; much data."""
    data = os.urandom(8 << 20)
    listener, port = serve(data), free_port()
    with machine(runner, guest, ("--net", "user,forward=tcp:%d:80" % port), 2) as m:
        m.wait_prompt(300)
        run(m, "ifconfig lo up; ifconfig eth0 up")
        out = run(m, "udhcpc -i eth0 -q -n -s /bin/true 2>&1")
        want("lease of 10.0.2.15 obtained" in out, "no lease: " + out[-200:])
        run(m, "ifconfig eth0 10.0.2.15; route add default gw 10.0.2.2; ping -c 1 10.0.2.2")
        out = run(m, "wget -q -O - http://10.0.2.2:%d/ | md5sum" % listener.getsockname()[1], 300)
        want(out.split()[0] == hashlib.md5(data).hexdigest(), "other bytes came in")
        run(m, "mkdir /tmp/w; dd if=/dev/urandom of=/tmp/w/f bs=64k count=128 2>/dev/null; "
               "httpd -p 80 -h /tmp/w")
        digest = run(m, "md5sum /tmp/w/f").split()[0]
        got = urllib.request.urlopen("http://127.0.0.1:%d/f" % port, timeout=300).read()
        want(hashlib.md5(got).hexdigest() == digest, "other bytes went out")
        power_off(m)
    listener.close()


def virtio_ports(runner, guest):
    """A named port to a file, random numbers."""
    with tempfile.TemporaryDirectory(prefix="bothy-port-") as folder:
        path = os.path.join(folder, "out")
        with machine(runner, guest, ("--chardev", "file,id=c,path=" + path, "--device",
                                     "virtserialport,chardev=c,name=org.example.test",
                                     "--device", "virtio-rng")) as m:
            m.wait_prompt(300)
            want("org.example.test" in run(m, "cat /sys/class/virtio-ports/*/name"), "no name")
            run(m, "seq 100000 >/dev/vport0p0")
            want("virtio" in run(m, "cat /sys/class/misc/hw_random/rng_current"), "no generator")
            run(m, "dd if=/dev/hwrng of=/tmp/r bs=1k count=16")
            power_off(m)
        with open(path, "rb") as f:
            want(f.read() == b"".join(b"%d\n" % n for n in range(1, 100001)), "other bytes came out")


def register(test, test_once):
    for fn in (virtio_blk, virtio_scsi, user_network):
        test(fn)
    for fn in (virtio_blk_smp, virtio_blk_legacy, virtio_ports):
        test_once(fn)
