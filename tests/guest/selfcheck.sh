#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Runs in the guest: known answers from busybox's tools. Prints "ok NAME" or
# "FAIL NAME: got X want Y" and "SELFCHECK passed failed".
# usage: selfcheck.sh CPUS MEMORY_MIB
cpus=$1 memory_mib=$2
passed=0 failed=0
cd /tmp || exit 1

check() { # NAME GOT WANT
	if [ "$2" = "$3" ]; then
		passed=$((passed + 1))
		echo "ok $1"
	else
		failed=$((failed + 1))
		echo "FAIL $1: got '$2' want '$3'"
	fi
}

sum() { sha256sum "$@" | cut -d ' ' -f 1; }

# Known digests, of text that needs no file from outside.
check sha256-abc "$(printf abc | sum)" ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad
check sha512-abc "$(printf abc | sha512sum | cut -c 1-32)" ddaf35a193617abacc417349ae204131
check sha1-abc "$(printf abc | sha1sum | cut -d ' ' -f 1)" a9993e364706816aba3e25717850c26c9cd0d89d
check md5-abc "$(printf abc | md5sum | cut -d ' ' -f 1)" 900150983cd24fb0d6963f7d28e17f72
seq 1 20000 >numbers
check sha256-seq "$(sum numbers)" "@SHA_SEQ@"
check md5-seq "$(md5sum numbers | cut -d ' ' -f 1)" "@MD5_SEQ@"
check wc "$(wc -c <numbers)" 108894

# Pipes and sorting.
check sort "$(awk 'BEGIN { for (i = 0; i < 20000; i++) print (i * 7919) % 20000 + 1 }' | sort -n | sum)" "@SHA_SEQ@"
check sort-reverse "$(sort -rn numbers | tac | sum)" "@SHA_SEQ@"
check pipes "$(cat numbers | tr 0-9 a-j | tr a-j 0-9 | cat | cat | cat | sum)" "@SHA_SEQ@"
check awk-sum "$(awk '{ s += $1 } END { print s }' numbers)" 200010000
# Newton's square root of 2: doubles through awk.
check awk-double "$(awk 'BEGIN { x = 1; for (i = 0; i < 30; i++) x = (x + 2 / x) / 2; printf "%.12f", x }')" 1.414213562373
check bc "$(echo '2^200 % 1000007; scale=20; 1/3' | bc | tr '\n' ' ')" "@POW@ .33333333333333333333 "
check shell-arithmetic "$((123456789 * 987654321 % 1000003))" "@ARITH@"
check xargs "$(seq 1 500 | xargs -n 7 echo | wc -l)" 72
check uniq "$(awk '{ print $1 % 10 }' numbers | sort | uniq -c | awk '{ print $1 }' | uniq)" 2000
check sed "$(sed -n 's/^12\(.*\)5$/\1/p' numbers | sum)" "@SED@"
check grep "$(grep -c 99 numbers)" "@GREP@"

# Compression both ways.
gzip -c numbers >numbers.gz
check gunzip "$(gunzip -c numbers.gz | sum)" "@SHA_SEQ@"
check gzip-shorter "$([ "$(wc -c <numbers.gz)" -lt 60000 ] && echo yes)" yes
xzcat /selfcheck/numbers.xz >from-xz
check xzcat "$(sum from-xz)" "@SHA_SEQ@"
check bzcat "$(bzcat /selfcheck/numbers.bz2 | sum)" "@SHA_SEQ@"
check zcat "$(zcat /selfcheck/numbers.gz | sum)" "@SHA_SEQ@"
check base64 "$(base64 numbers | base64 -d | sum)" "@SHA_SEQ@"
tar cf all.tar numbers from-xz
mkdir out && tar xf all.tar -C out
check tar "$(sum out/from-xz)" "@SHA_SEQ@"
dd if=/dev/zero of=zeroes bs=1M count=8 2>/dev/null
check zeroes "$(sum zeroes)" 2daeb1f36095b44b318410b3f4e8b5d989dcc7bb023d1426c492dab0a3053e74
rm -f zeroes

# Processes, signals, time.
sleep 60 &
kill $!
wait $! 2>/dev/null
check signal $? 143
i=0
while [ $i -lt 100 ]; do (exit 3); r=$?; i=$((i + 1)); done
check subshells "$i $r" "100 3"
before=$(cut -d . -f 1 /proc/uptime)
sleep 2
passed_s=$(($(cut -d . -f 1 /proc/uptime) - before))
check sleep-2 "$([ $passed_s -ge 2 ] && [ $passed_s -le 4 ] && echo yes)" yes

# What the machine is.
check nproc "$(nproc)" "$cpus"
check cpuinfo "$(grep -c ^processor /proc/cpuinfo)" "$cpus"
check flags "$(grep -m 1 ^flags /proc/cpuinfo | tr ' ' '\n' | grep -cE '^(lm|nx|sse2|syscall|fxsr|pae|tsc)$')" 7
total=$(awk '/^MemTotal/ { print int($2 / 1024) }' /proc/meminfo)
low=$((memory_mib - memory_mib / 12 - 70))
check memory "$([ "$total" -gt $low ] && [ "$total" -le "$memory_mib" ] && echo yes || echo $total)" yes

# Interrupts arrive on every CPU: a busy loop bound to each, then its local timer.
loc() { awk '/LOC:/ { for (i = 2; i <= '"$cpus"' + 1; i++) printf "%s ", $i }' /proc/interrupts; }
first=$(loc)
i=0
while [ $i -lt "$cpus" ]; do
	taskset -c $i sh -c 'n=0; end=$(($(date +%s) + 2)); while [ $(date +%s) -lt $end ]; do n=$((n + 1)); done; cut -d " " -f 39 /proc/self/stat' >on-$i &
	i=$((i + 1))
done
wait
second=$(loc)
i=0
while [ $i -lt "$cpus" ]; do
	a=$(echo "$first" | cut -d ' ' -f $((i + 1)))
	b=$(echo "$second" | cut -d ' ' -f $((i + 1)))
	check timer-cpu$i "$([ "$b" -gt "$a" ] && echo yes)" yes
	check bound-cpu$i "$(cat on-$i)" $i
	i=$((i + 1))
done
echo "SELFCHECK $passed $failed"
