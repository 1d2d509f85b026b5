// Writes src/kernel/syscall-tables.ts from the kernel's user headers, as Debian's package linux-libc-dev (trixie and later) lays them out:
//
//   apt-get download linux-libc-dev && dpkg-deb -x linux-libc-dev_*.deb headers
//   node scripts/make-syscalls.mjs headers/usr/lib/linux/uapi
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const headers = process.argv[2];
if (!headers) {
  console.error('usage: node scripts/make-syscalls.mjs <headers>/usr/lib/linux/uapi');
  process.exit(2);
}

const sources = {
  x86_64: 'x86/asm/unistd_64.h',
  i386: 'x86/asm/unistd_32.h',
  x32: 'x86/asm/unistd_x32.h',
  aarch64: 'arm64/asm/unistd_64.h',
  arm: 'arm/asm/unistd-eabi.h',
};
// `#define __NR_read 0`, `(__X32_SYSCALL_BIT + 0)`, `(__NR_SYSCALL_BASE + 0)`: the number, without the base.
const definition = /^#define __NR_(\w+)\s+(?:\((?:__X32_SYSCALL_BIT|__NR_SYSCALL_BASE)\s*\+\s*(\d+)\)|(\d+))\s*$/;

let text = `// Written by scripts/make-syscalls.mjs from the kernel's user headers; don't edit.
// A number starts a run: the names after it are numbered on from there.

export const syscallTables: Readonly<Record<'${Object.keys(sources).join("' | '")}', string>> = {\n`;
for (const [arch, path] of Object.entries(sources)) {
  const calls = [];
  for (const line of readFileSync(join(headers, path), 'utf8').split('\n')) {
    const match = definition.exec(line);
    if (match) calls.push([Number(match[2] ?? match[3]), match[1]]);
    else if (line.includes('define __NR_')) throw new Error(`${path}: not understood: ${line}`);
  }
  if (calls.length < 300) throw new Error(`${path}: only ${calls.length} system calls`);
  calls.sort((a, b) => a[0] - b[0]);
  const words = [];
  let next = -1;
  for (const [number, name] of calls) {
    if (number !== next) words.push(String(number));
    words.push(name);
    next = number + 1;
  }
  // Private calls of the arm kernel (asm/unistd.h), which are no part of its table.
  if (arch === 'arm') words.push(String(0x0f0001), 'breakpoint', 'cacheflush', 'usr26', 'usr32', 'set_tls', 'get_tls');
  text += `  ${arch}: \`\n`;
  let row = '';
  for (const word of words) {
    if (row.length + word.length >= 118) {
      text += `${row}\n`;
      row = '';
    }
    row += row === '' ? word : ` ${word}`;
  }
  text += `${row}\`,\n`;
}
writeFileSync('src/kernel/syscall-tables.ts', `${text}};\n`);
