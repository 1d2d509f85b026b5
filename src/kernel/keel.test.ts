import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { Context } from '../ground/context.ts';
import { isKeelsonError, type KeelsonError } from '../ground/errors.ts';
import { AT_FDCWD, O_CLOEXEC, O_CREAT, O_RDONLY, O_WRONLY } from './constants.ts';
import { Keel, keelBinary } from './keel.ts';
import type { PlanMessage } from './plan-answers.ts';
import type { BlobRef, Plan, Reg } from './plan.ts';
import { PlanBuilder } from './plan-builder.ts';
import { hostArch } from './syscalls.ts';

const keel = Keel.spawn();
after(() => keel.close());

function builder(before?: PlanBuilder): PlanBuilder {
  return new PlanBuilder(hostArch(), before).group('test').doing('testing');
}

async function run(b: PlanBuilder): Promise<(reg: Reg) => bigint | undefined> {
  const { registers } = await keel.run(b.build());
  return (reg) => registers[reg.reg];
}

async function failure(plan: Plan | PlanBuilder, hooks = {}): Promise<KeelsonError> {
  try {
    await keel.run(plan instanceof PlanBuilder ? plan.build() : plan, hooks);
  } catch (error) {
    assert.ok(isKeelsonError(error), String(error));
    return error;
  }
  throw new assert.AssertionError({ message: 'the plan did not fail' });
}

function pipe(b: PlanBuilder): [read: Reg, write: Reg] {
  const ends = b.blob(8);
  b.sys('pipe2', [ends, O_CLOEXEC]);
  return [b.peek(ends, 4), b.peek({ ...ends, offset: 4 }, 4)];
}

describe('operations', () => {
  test('a system call takes immediates, registers and addresses, and gives its result', async () => {
    const b = builder();
    const fd = b.sys('openat', [AT_FDCWD, '/proc/self/comm', O_RDONLY | O_CLOEXEC]);
    const content = b.blob(32);
    const read = b.sys('read', [fd, content, 32]);
    const first = b.peek(content, 1);
    const result = await run(b);
    assert.equal(result(read), 5n);
    assert.equal(result(first), BigInt('k'.charCodeAt(0)));
  });

  test('poke and peek know 1, 2, 4 and 8 bytes, signed and not', async () => {
    const b = builder();
    const at = b.blob(16);
    b.poke(at, 8, -2n);
    b.poke({ ...at, offset: 8 }, 2, 0x1_8001);
    const [whole, word] = [b.peek(at, 8), b.peek({ ...at, offset: 8 }, 4)];
    const plan = b.build();
    const signed = { reg: plan.registers };
    const ops = [...plan.ops, { op: 'peek', at, size: 4, signed: true, dst: signed, group: '', doing: '' } as const];
    const { registers } = await keel.run({ ...plan, registers: plan.registers + 1, ops });
    assert.equal(registers[whole.reg], -2n);
    assert.equal(registers[word.reg], 0x8001n);
    assert.equal(registers[signed.reg], -2n);
  });

  test('immediates of all 64 bits arrive', async () => {
    for (const value of [0, -1, 2 ** 53 - 1, -(2 ** 53) + 1, 2n ** 63n - 1n, -(2n ** 63n), 0xffffffff, -0xffffffff]) {
      const b = builder();
      const reg = b.reg('value');
      b.set(reg, value);
      assert.equal((await run(b))(reg), BigInt(value));
    }
    const b = builder();
    const reg = b.reg('value');
    b.set(reg, 2n ** 64n - 1n);
    assert.equal((await run(b))(reg), -1n);
  });

  test('pointers between blobs are addresses when the plan runs', async () => {
    const b = builder();
    const target = b.blob(Buffer.from('gathered'));
    const [out, into] = pipe(b);
    const vector = b.struct('struct iovec', 16, [
      [0, 8, { ...target, offset: 2 }],
      [8, 8, 6],
    ]);
    b.sys('writev', [into, vector, 1]);
    const back = b.blob(8);
    b.sys('read', [out, back, 8]);
    const bytes = b.peek(back, 4);
    assert.equal((await run(b))(bytes), BigInt(Buffer.from('ther').readUInt32LE()));
  });

  test('format writes digits and a NUL', async () => {
    const b = builder();
    const at = b.blob(8);
    const count = b.format({ ...at, offset: 1 }, -1234);
    const bytes = b.peek(at, 8);
    const result = await run(b);
    assert.equal(result(count), 5n);
    assert.equal(Buffer.from(new BigInt64Array([result(bytes) ?? 0n]).buffer).toString('latin1'), '\0-1234\0\0');
  });

  test('format fails where there is no room', async () => {
    const b = builder();
    b.format(b.blob(4), 12345);
    assert.equal((await failure(b)).details.errno, 'EOVERFLOW');
  });

  test('branches compare signed, jumps go both ways', async () => {
    const b = builder();
    const [counter, sum] = [b.reg('counter'), b.reg('sum')];
    const [again, done] = [b.label(), b.label()];
    const cell = b.blob(8);
    b.set(counter, -3);
    b.place(again);
    b.branch(counter, '>=', 0, done);
    b.poke(cell, 8, counter);
    b.sys('getpid', []);
    // There is no addition: the kernel is asked to add by moving a file's position.
    const fd = b.sys('openat', [AT_FDCWD, '/proc/self/mem', O_RDONLY | O_CLOEXEC]);
    b.sys('lseek', [fd, 3, 0]);
    b.sys('lseek', [fd, counter, 1], { dst: sum });
    b.sys('close', [fd]);
    b.set(counter, 5);
    b.jump(again);
    b.place(done);
    const result = await run(b);
    assert.equal(result(sum), 0n);
    assert.equal(result(counter), 5n);
    for (const [left, is, right, taken] of [
      [1, '==', 1, true],
      [1, '!=', 1, false],
      [-1, '<', 0, true],
      [0, '<', 0, false],
      [0, '>=', 0, true],
      [6, '&', 2, true],
      [4, '&', 3, false],
    ] as const) {
      const c = builder();
      const reg = c.reg('taken');
      const to = c.label();
      c.set(reg, 1);
      c.branch(left, is, right, to);
      c.set(reg, 0);
      c.place(to);
      assert.equal((await run(c))(reg), taken ? 1n : 0n, `${left} ${is} ${right}`);
    }
  });

  test('fail fails with a named errno, or one in a register', async () => {
    const b = builder();
    b.fail('EXDEV', 'crossing over');
    const named = await failure(b);
    assert.equal(named.message, 'crossing over: fail: EXDEV (Invalid cross-device link)');
    const c = builder();
    const reg = c.sys('openat', [AT_FDCWD, '/nonexistent', 0], { on: { ENOENT: 'continue' } });
    c.fail(reg);
    assert.equal((await failure(c)).details.errno, 'ENOENT');
  });

  test('write writes all, more than the pipe takes at once', async () => {
    const b = builder();
    const [out, into] = pipe(b);
    const size = 1 << 20;
    const { report } = b.clone({ flags: 0n }, () => {
      b.write(into, b.blob(size), { doing: 'writing a lot' });
    });
    b.sys('close', [into]);
    const [total, buffer] = [b.reg('total'), b.blob(size)];
    const [again, done] = [b.label(), b.label()];
    b.place(again);
    const n = b.sys('read', [out, buffer, size]);
    b.branch(n, '==', 0, done);
    b.jump(again);
    b.place(done);
    b.set(total, 1);
    b.await(report);
    assert.equal((await run(b))(total), 1n);
  });

  test('write refuses to go beyond its blob', async () => {
    const b = builder();
    const [, into] = pipe(b);
    const size = b.reg('size');
    b.set(size, 100);
    b.write(into, b.blob(10), { size });
    assert.equal((await failure(b)).details.errno, 'EFAULT');
  });

  test('report sends registers and blobs without waiting', async () => {
    const b = builder();
    const messages: PlanMessage[] = [];
    const pid = b.sys('getpid', []);
    b.report(7, [pid, pid], [{ ...b.string('hello'), offset: 1 }, b.blob(3)]);
    b.report(8, [], []);
    await keel.run(b.build(), { onReport: (m) => messages.push(m) });
    assert.deepEqual(
      messages.map((m) => [m.tag, m.registers.length, m.blobs.map(String)]),
      [
        [7, 2, ['ello\0', '\0\0\0']],
        [8, 0, []],
      ],
    );
  });

  test('netlink sends messages, collects answers and fails with the kernel’s errno', async () => {
    const b = builder();
    const socket = b.sys('socket', [16, 3 | O_CLOEXEC, 0]);
    const header = Buffer.alloc(32);
    header.writeUInt32LE(32, 0);
    header.writeUInt16LE(18, 4); // RTM_GETLINK
    header.writeUInt16LE(0x301, 6); // NLM_F_REQUEST | NLM_F_DUMP
    header.writeUInt32LE(1, 8);
    const answer = b.blob(1 << 16);
    const bytes = b.netlink(socket, b.blob(header), 32, 1, { answer: { at: answer, size: 1 << 16 } });
    const type = b.peek({ ...answer, offset: 4 }, 2);
    const result = await run(b);
    assert.ok((result(bytes) ?? 0n) > 100n);
    assert.equal(result(type), 16n); // RTM_NEWLINK: the loopback device

    const c = builder();
    const other = c.sys('socket', [16, 3 | O_CLOEXEC, 0]);
    c.sys('setsockopt', [other, 270, 11, c.blob(Buffer.from([1, 0, 0, 0])), 4]); // NETLINK_EXT_ACK
    const unset = Buffer.from(header);
    unset.writeUInt16LE(17, 4); // RTM_DELLINK
    unset.writeUInt16LE(5, 6); // NLM_F_REQUEST | NLM_F_ACK
    unset.writeInt32LE(0x7ffffff0, 20); // no such index
    c.netlink(other, c.blob(unset), 32, 1, { doing: 'deleting a link' });
    const error = await failure(c);
    assert.equal(error.details.errno, 'ENODEV');
    assert.match(error.message, /^deleting a link: netlink: ENODEV \(No such device\)/);
  });

  test('netlink gives the kernel’s own words where there are some', async () => {
    const b = builder();
    const socket = b.sys('socket', [16, 3 | O_CLOEXEC, 0]);
    b.sys('setsockopt', [socket, 270, 11, b.blob(Buffer.from([1, 0, 0, 0])), 4]);
    const message = Buffer.alloc(28);
    message.writeUInt32LE(28, 0);
    message.writeUInt16LE(24, 4); // RTM_NEWROUTE
    message.writeUInt16LE(0x605, 6); // REQUEST | ACK | EXCL | CREATE
    message[16] = 2; // AF_INET
    message[17] = 33; // a prefix that can't be
    b.netlink(socket, b.blob(message), 28, 1);
    assert.match((await failure(b)).message, /EINVAL \(Invalid argument\): Invalid prefix/i);
  });
});

describe('rules', () => {
  const open = (b: PlanBuilder, on: Parameters<PlanBuilder['sys']>[2]): Reg =>
    b.sys('openat', [AT_FDCWD, '/nonexistent', O_RDONLY], on);

  test('continue leaves -errno in the register', async () => {
    const b = builder();
    const fd = open(b, { on: { EACCES: 'continue', ENOENT: 'continue' } });
    assert.equal((await run(b))(fd), -2n);
  });

  test('any matches every errno', async () => {
    const b = builder();
    const fd = open(b, { on: { any: 'continue' } });
    assert.equal((await run(b))(fd), -2n);
  });

  test('jump goes on at the label', async () => {
    const b = builder();
    const [missing, found] = [b.label(), b.reg('found')];
    b.set(found, 0);
    open(b, { on: { ENOENT: missing } });
    b.set(found, 1);
    b.place(missing);
    assert.equal((await run(b))(found), 0n);
  });

  test('another errno fails, and says what was being done', async () => {
    const b = builder();
    b.sys('openat', [AT_FDCWD, '/nonexistent', O_RDONLY], { doing: 'reading a file', on: { EACCES: 'continue' } });
    const error = await failure(b);
    assert.equal(error.code, 'not-found');
    assert.equal(error.message, 'reading a file: openat: ENOENT (No such file or directory)');
    assert.deepEqual(error.details, { errno: 'ENOENT', syscall: 'openat', op: 0 });
  });

  test('retry tries until it succeeds', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'keelson-retry-'));
    const path = join(folder, 'later');
    const b = builder();
    const { report } = b.clone({ flags: 0n }, () => {
      b.sys('nanosleep', [b.blob(Buffer.from(new BigInt64Array([0n, 30_000_000n]).buffer)), 0]);
      b.sys('openat', [AT_FDCWD, path, O_WRONLY | O_CREAT, 0o600]);
    });
    b.sys('openat', [AT_FDCWD, path, O_RDONLY | O_CLOEXEC], { on: { ENOENT: { retryMs: 5000 } } });
    b.await(report);
    await run(b);
    rmSync(folder, { recursive: true });
  });

  test('retry gives up in time, and the rules after it count', async () => {
    const b = builder();
    open(b, { on: { ENOENT: { retryMs: 20 } } });
    const begin = performance.now();
    assert.equal((await failure(b)).details.errno, 'ENOENT');
    assert.ok(performance.now() - begin >= 19);
    const c = builder();
    const fd = open(c, { on: { ENOENT: { retryMs: 5 }, any: 'continue' } });
    assert.equal((await run(c))(fd), -2n);
  });
});

describe('clone', () => {
  test('the child has a copy of registers and blobs, the parent its pid, pidfd and status', async () => {
    const b = builder();
    const value = b.reg('value');
    b.set(value, 5);
    const child = b.clone({ flags: 0n }, () => {
      const wrong = b.label();
      b.branch(value, '!=', 5, wrong);
      b.set(value, 6);
      b.sys('exit_group', [42]);
      b.place(wrong);
      b.fail('EDOM');
    });
    b.await(child.report);
    const status = b.blob(4);
    const waited = b.sys('wait4', [child.pid, status, 0, 0]);
    const code = b.peek(status, 4);
    const flags = b.sys('fcntl', [child.pidfd as Reg, 1, 0]);
    const result = await run(b);
    assert.equal(result(waited), result(child.pid));
    assert.equal(result(code), 42n << 8n);
    assert.equal(result(value), 5n);
    assert.equal(result(flags), 1n);
  });

  test('the end of the child’s operations is exit code 0', async () => {
    const b = builder();
    const child = b.clone({ flags: 0n }, () => b.sys('getpid', []));
    b.await(child.report);
    const status = b.blob(4);
    b.sys('wait4', [child.pid, status, 0, 0]);
    const code = b.peek(status, 4);
    assert.equal((await run(b))(code), 0n);
  });

  test('a child’s failure is the parent’s, at the child’s operation', async () => {
    const b = builder();
    const child = b.clone({ flags: 0n }, () => {
      b.sys('getpid', []);
      b.sys('chdir', ['/nonexistent'], { doing: 'entering the working directory' });
    });
    b.await(child.report, 'waiting');
    const error = await failure(b);
    assert.equal(error.message, 'entering the working directory: chdir: ENOENT (No such file or directory)');
    assert.equal(error.details.op, 2);
  });

  test('a failure travels through several generations, in namespaces of their own', async () => {
    const b = builder();
    const outer = b.clone({ flags: 0x10000000n | 0x20000000n }, () => {
      // CLONE_NEWUSER | CLONE_NEWPID
      const middle = b.clone({ flags: 0x00020000n }, () => {
        // CLONE_NEWNS
        const inner = b.clone({ flags: 0n }, () => {
          b.sys('execve', ['/proc', b.strings(['x']), b.strings([])], { doing: 'executing' });
        });
        b.await(inner.report);
      });
      b.await(middle.report);
    });
    b.await(outer.report);
    const error = await failure(b);
    assert.equal(error.message, 'executing: execve: EACCES (Permission denied)');
    assert.equal(error.code, 'command-not-executable');
  });

  test('a child that goes without waiting for its own is not waited for any longer', async () => {
    const b = builder();
    const [hold, release] = pipe(b);
    const middle = b.clone({ flags: 0n }, () => {
      b.clone({ flags: 0n }, () => {
        b.sys('close', [release]);
        b.sys('read', [hold, b.blob(1), 1]);
      });
    });
    b.await(middle.report); // not of the grandchild, which lives until this process ends
    await run(b);
  });

  test('await goes on when the program is executed', async () => {
    const b = builder();
    const child = b.clone({ flags: 0n }, () => {
      b.sys('execve', ['/bin/sh', b.strings(['sh', '-c', 'exit 7']), b.strings([])]);
    });
    b.await(child.report);
    const status = b.blob(4);
    b.sys('wait4', [child.pid, status, 0, 0]);
    const code = b.peek(status, 4);
    assert.equal((await run(b))(code), 7n << 8n);
  });

  test('a program starts with default signals, none blocked, and three descriptors', async () => {
    const b = builder();
    const [out, into] = pipe(b);
    const script = 'grep -E "^Sig(Blk|Ign)" /proc/self/status; ls /proc/self/fd';
    const child = b.clone({ flags: 0n }, () => {
      b.sys('dup3', [into, 1, 0]);
      b.sys('execve', ['/bin/sh', b.strings(['sh', '-c', script]), b.strings(['PATH=/usr/bin:/bin'])]);
    });
    b.sys('close', [into]);
    b.await(child.report);
    b.sys('wait4', [child.pid, 0, 0, 0]);
    const content = b.blob(256);
    b.sys('read', [out, content, 256]);
    b.report(0, [], [content]);
    let text = '';
    await keel.run(b.build(), { onReport: (m) => (text = String(m.blobs[0]).replace(/\0+$/, '')) });
    assert.match(text, /SigBlk:\s+0000000000000000\nSigIgn:\s+0000000000000000\n/);
    assert.deepEqual(text.trim().split('\n').slice(2), ['0', '1', '2', '3']); // 3 is ls's own
  });

  test('the binary is not to be written by way of /proc/<pid>/exe', async () => {
    for (const flags of [O_WRONLY, 2, O_WRONLY | 0o1000]) {
      const b = builder();
      b.sys('openat', [AT_FDCWD, '/proc/self/exe', flags]);
      assert.match(String((await failure(b)).details.errno), /^(EROFS|ETXTBSY|EPERM|EACCES)$/);
    }
  });
});

describe('sync', () => {
  test('the answer’s operations run in its place, with the registers and blobs there are', async () => {
    const b = builder();
    const [x, text] = [b.reg('x'), b.string('first')];
    b.set(x, 3);
    b.sync(1, [x], [text]);
    const later = b.sys('getpid', []);
    const seen: unknown[] = [];
    let y: Reg = { reg: -1 };
    const { registers } = await keel.run(b.build(), {
      onSync(m) {
        seen.push(m.tag, m.registers, m.blobs.map(String));
        const c = builder(b);
        y = c.reg('y');
        c.set(y, x);
        c.set(x, 4);
        const vector = c.struct('iovec', 16, [
          [0, 8, text],
          [8, 8, 5],
        ]);
        const address = c.peek(vector, 8);
        const byte = c.blob(1);
        const source = c.struct('iovec', 16, [
          [0, 8, address],
          [8, 8, 1],
        ]);
        c.sys('process_vm_readv', [
          c.sys('getpid', []),
          c.struct('iovec', 16, [
            [0, 8, byte],
            [8, 8, 1],
          ]),
          1,
          source,
          1,
          0,
        ]);
        c.report(2, [c.peek(byte, 1)], []);
        return c.build();
      },
      onReport: (m) => seen.push(m.registers),
    });
    assert.deepEqual(seen, [1, [3n], ['first\0'], [BigInt('f'.charCodeAt(0))]]);
    assert.equal(registers[y.reg], 3n);
    assert.equal(registers[x.reg], 4n);
    assert.ok((registers[later.reg] ?? 0n) > 0n);
  });

  test('chunks may sync again, and errors name their operations', async () => {
    const b = builder();
    b.sync(0, [], []);
    let rounds = 0;
    let previous = b;
    const error = await failure(b, {
      onSync() {
        const c = builder(previous);
        previous = c;
        if (++rounds < 5) c.sync(rounds, [], []);
        else c.sys('chdir', ['/nonexistent'], { doing: 'the fifth round' });
        return c.build();
      },
    });
    assert.equal(error.message, 'the fifth round: chdir: ENOENT (No such file or directory)');
    assert.equal(error.details.op, 5);
  });

  test('a clone’s child may sync as well', async () => {
    const b = builder();
    const value = b.reg('value');
    const child = b.clone({ flags: 0n }, () => {
      b.sync(9, [b.sys('getpid', [])], []);
      const fine = b.label();
      b.branch(value, '==', 11, fine);
      b.fail('EDOM');
      b.place(fine);
    });
    b.await(child.report);
    await keel.run(b.build(), {
      onSync() {
        const c = builder(b);
        c.set(value, 11);
        return c.build();
      },
    });
  });

  test('a planner that throws ends the plan with what it threw', async () => {
    const b = builder();
    b.sync(0, [], []);
    b.sys('pause', []);
    await assert.rejects(
      keel.run(b.build(), {
        onSync() {
          throw new RangeError('no idea');
        },
      }),
      /no idea/,
    );
  });
});

describe('the zygote', () => {
  test('plans run side by side', async () => {
    const begin = performance.now();
    const sleep = (): Promise<unknown> => {
      const b = builder();
      b.sys('nanosleep', [b.blob(Buffer.from(new BigInt64Array([0n, 100_000_000n]).buffer)), 0]);
      return keel.run(b.build());
    };
    await Promise.all(Array.from({ length: 20 }, sleep));
    assert.ok(performance.now() - begin < 1500);
  });

  test('executors have nothing open but their channel and the standard streams', async () => {
    const pause = builder();
    pause.sys('pause', []);
    const others = new AbortController();
    const held = Array.from({ length: 3 }, () => keel.run(pause.build(), {}, new Context({ signal: others.signal })));
    const b = builder();
    const fd = b.sys('openat', [AT_FDCWD, '/proc/self/fd', O_RDONLY | O_CLOEXEC]);
    const entries = b.blob(4096);
    const size = b.sys('getdents64', [fd, entries, 4096]);
    b.report(0, [size], [entries]);
    const names: string[] = [];
    await keel.run(b.build(), {
      onReport({ registers: [total = 0n], blobs: [bytes = Buffer.alloc(0)] }) {
        for (let at = 0; at < Number(total); at += bytes.readUInt16LE(at + 16)) {
          names.push(bytes.toString('latin1', at + 19, bytes.indexOf(0, at + 19)));
        }
      },
    });
    others.abort();
    await Promise.allSettled(held);
    assert.deepEqual(
      names.filter((n) => !n.startsWith('.')),
      ['0', '1', '2', '3', '4'],
    ); // 4 is the open directory
  });

  test('an abort stops the executor where it is', async () => {
    const b = builder();
    b.report(0, [b.sys('getpid', [])], []);
    b.sys('pause', []);
    const stop = new AbortController();
    let pid = 0n;
    await assert.rejects(
      keel.run(
        b.build(),
        {
          onReport(m) {
            pid = m.registers[0] ?? 0n;
            stop.abort();
          },
        },
        new Context({ signal: stop.signal }),
      ),
      (error) => isKeelsonError(error, 'canceled'),
    );
    while (existsSync(`/proc/${pid}`)) await new Promise((resolve) => setTimeout(resolve, 5));
  });

  test('an executor that dies is told as such', async () => {
    const b = builder();
    b.sys('kill', [b.sys('getpid', []), 9]);
    const error = await failure(b);
    assert.equal(error.code, 'unavailable');
    assert.match(error.message, /testing: its executor was ended by signal 9/);
  });

  test('when it dies, what runs is rejected and the next plan gets a new one', async () => {
    const own = Keel.spawn();
    const b = builder();
    const parent = b.sys('getppid', []);
    const first = (await own.run(b.build())).registers[parent.reg] ?? 0n;
    const c = builder();
    c.sys('pause', []);
    const pending = own.run(c.build());
    process.kill(Number(first), 'SIGKILL');
    await assert.rejects(pending, (error) => isKeelsonError(error, 'unavailable') && /SIGKILL/.test(error.message));
    const second = (await own.run(b.build())).registers[parent.reg];
    assert.notEqual(second, first);
    await own.close();
    assert.ok(!existsSync(`/proc/${second}`));
    await assert.rejects(own.run(b.build()), /has been closed/);
  });

  test('a binary that is not there is an error', async () => {
    await using own = Keel.spawn({ binary: '/nonexistent/keel' });
    const b = builder();
    b.sys('getpid', []);
    await assert.rejects(own.run(b.build()), /testing: starting \/nonexistent\/keel: .*ENOENT/);
  });

  test('Node exits with an idle zygote, and the zygote with it', async () => {
    const script = `
      import { Keel } from ${JSON.stringify(new URL('keel.ts', import.meta.url).href)};
      import { PlanBuilder } from ${JSON.stringify(new URL('plan-builder.ts', import.meta.url).href)};
      const b = new PlanBuilder(${JSON.stringify(hostArch())});
      const parent = b.sys('getppid', []);
      const { registers } = await Keel.spawn().run(b.build());
      console.log(String(registers[parent.reg]));`;
    const pid = execFileSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' }).trim();
    assert.match(pid, /^\d+$/);
    const end = Date.now() + 2000;
    while (existsSync(`/proc/${pid}`) && Date.now() < end) await new Promise((resolve) => setTimeout(resolve, 5));
    assert.ok(!existsSync(`/proc/${pid}`));
  });

  test('what is not a plan is refused', async () => {
    const plan = builder().build();
    const hostile: [Partial<Plan>, RegExp][] = [
      [{ registers: 1 << 20 }, /registers are too many/],
      [{ ops: [{ op: 'set', dst: { reg: 9 }, value: 0, group: '', doing: '' }] }, /no register 9/],
      [{ ops: [{ op: 'syscall', name: 'getpid', args: [{ blob: 3 }], rules: [], group: '', doing: '' }] }, /no blob 3/],
      [
        {
          blobs: [{ size: 4, init: new Uint8Array(4), pointers: [] }],
          ops: [{ op: 'poke', at: { blob: 0, offset: 2 }, size: 4, value: 0, group: '', doing: '' }],
        },
        /4 bytes at 2 are not in blob 0/,
      ],
      [{ blobs: [{ size: 8, init: new Uint8Array(8), pointers: [{ at: 1, to: { blob: 0 } }] }] }, /out of its blob/],
      [{ blobs: [{ size: 2 ** 32 - 1, init: new Uint8Array(8), pointers: [] }] }, /a blob of 4294967295 bytes/],
      [{ arch: hostArch() === 'x86_64' ? 'aarch64' : 'x86_64' }, /another architecture/],
    ];
    for (const [change, message] of hostile) {
      const error = await failure({ ...plan, ...change });
      assert.match(error.message, message);
    }
  });

  test('an ordinary user’s keel runs from a sealed copy of itself', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'keelson-user-'));
    const script = join(folder, 'keel');
    copyFileSync(keelBinary(), join(folder, 'binary'));
    chmodSync(join(folder, 'binary'), 0o755);
    chmodSync(folder, 0o755);
    const as = 'setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all';
    writeFileSync(script, `#!/bin/sh\nexec ${as} ${folder}/binary "$@"\n`, { mode: 0o755 });
    await using own = Keel.spawn({ binary: script });
    const b = builder();
    const uid = b.sys('getuid', []);
    const path = b.blob(64);
    b.sys('prctl', [4, 1, 0, 0, 0]); // PR_SET_DUMPABLE: so that its links in /proc can be read
    b.sys('readlinkat', [AT_FDCWD, '/proc/self/exe', path, 63]);
    const refused = b.sys('openat', [AT_FDCWD, '/proc/self/exe', 2], { on: { any: 'continue' } });
    b.report(0, [], [path]);
    let exe = '';
    const { registers } = await own.run(b.build(), { onReport: (m) => (exe = String(m.blobs[0]).replace(/\0+$/, '')) });
    assert.equal(registers[uid.reg], 65534n);
    assert.equal(exe, '/memfd:keel (deleted)');
    assert.ok((registers[refused.reg] ?? 0n) < 0n);
    rmSync(folder, { recursive: true });
  });

  test('a plan of many megabytes arrives', async () => {
    const b = builder();
    const size = 12 << 20;
    const big: BlobRef = b.blob(Buffer.alloc(size, 'x'));
    const last = b.peek({ ...big, offset: size - 1 }, 1);
    assert.equal((await run(b))(last), BigInt('x'.charCodeAt(0)));
    const c = builder();
    c.blob(Buffer.alloc(17 << 20));
    await assert.rejects(keel.run(c.build()), /too large/);
  });

  test('a terminal’s signals do not reach it', async () => {
    const b = builder();
    const [parent] = [b.sys('getppid', [])];
    const pid = (await keel.run(b.build())).registers[parent.reg];
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
    assert.equal(stat[3], String(pid)); // a session of its own
  });
});
