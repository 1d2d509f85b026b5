import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compileDevicePolicy } from './bpf-devices.ts';
import { type DeviceAccess, type DevicePolicy, devicePolicy } from './device-rules.ts';

/** Runs the program as the kernel would on one access; fails on anything but the instructions in use. */
function run(program: Uint8Array, type: number, access: number, major: number, minor: number): number {
  const view = new DataView(program.buffer, program.byteOffset, program.byteLength);
  const context = [((access << 16) | type) >>> 0, major, minor];
  const r = Array.from({ length: 11 }, () => Number.NaN);
  for (let pc = 0, steps = 0; ; pc++, steps++) {
    assert.ok(steps < 4096 && pc * 8 < program.length, 'the program does not end');
    const [op, registers] = [view.getUint8(pc * 8), view.getUint8(pc * 8 + 1)];
    const [off, imm] = [view.getInt16(pc * 8 + 2, true), view.getInt32(pc * 8 + 4, true)];
    const [dst, src] = [registers & 15, registers >> 4];
    const value = () => {
      const known = r[dst] as number;
      assert.ok(!Number.isNaN(known), `R${dst} is read before it is written`);
      return known;
    };
    if (op === 0x61) r[dst] = context[off / 4] as number;
    else if (op === 0xb4) r[dst] = imm;
    else if (op === 0xbc) r[dst] = r[src] as number;
    else if (op === 0x54) r[dst] = (value() & imm) >>> 0;
    else if (op === 0x74) r[dst] = value() >>> imm;
    else if (op === 0x16) pc += value() === imm >>> 0 ? off : 0;
    else if (op === 0x56) pc += value() === imm >>> 0 ? 0 : off;
    else if (op === 0x95) return r[0] as number;
    else assert.fail(`opcode 0x${op.toString(16)}`);
  }
}

const accesses = { m: 1, r: 2, w: 4 };

/** What the policy says, plainly: each access asked for is decided by the last rule that names it. */
function naive(policy: DevicePolicy, type: 'b' | 'c', access: number, major: number, minor: number): number {
  const allowed = Object.entries(accesses).every(([letter, bit]) => {
    if (!(access & bit)) return true;
    const rule = policy.rules.findLast(
      (one) =>
        one.type === type &&
        (one.major ?? major) === major &&
        (one.minor ?? minor) === minor &&
        one.access.includes(letter),
    );
    return rule ? rule.allow : policy.allowOthers;
  });
  return allowed ? 1 : 0;
}

function agrees(policy: DevicePolicy): void {
  const program = compileDevicePolicy(policy);
  for (const type of ['b', 'c'] as const) {
    for (const major of [0, 1, 5, 8, 10, 136, 1048575]) {
      for (const minor of [0, 1, 3, 5, 200, 229, 1048575]) {
        for (let access = 1; access < 8; access++) {
          const expected = naive(policy, type, access, major, minor);
          assert.equal(
            run(program, type === 'b' ? 1 : 2, access, major, minor),
            expected,
            `${type} ${major}:${minor} ${access} in ${JSON.stringify(policy)}`,
          );
        }
      }
    }
  }
}

test('the default policy allows the default devices and mknod, nothing else', () => {
  const program = compileDevicePolicy(devicePolicy([]));
  assert.equal(run(program, 2, 6, 1, 3), 1);
  assert.equal(run(program, 1, 1, 8, 0), 1);
  assert.equal(run(program, 1, 2, 8, 0), 0);
  assert.equal(run(program, 2, 2, 10, 229), 0);
  agrees(devicePolicy([]));
});

test('allow all is allow all', () => {
  assert.equal(compileDevicePolicy(devicePolicy([{ allow: true, access: 'rwm' }])).length, 8 * 8);
  agrees(devicePolicy([{ allow: true, access: 'rwm' }]));
});

test('later rules win, access by access', () => {
  const policy = devicePolicy([
    { allow: true, type: 'a' },
    { allow: false, type: 'b' },
    { allow: true, type: 'b', major: 8, access: 'r' },
    { allow: false, type: 'b', major: 8, minor: 1, access: 'rm' },
    { allow: true, type: 'b', minor: 3, access: 'wm' },
  ]);
  agrees(policy);
});

test('random policies agree with plain evaluation', () => {
  let seed = 7;
  const random = (n: number) => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    return (seed >>> 8) % n;
  };
  for (let i = 0; i < 60; i++) {
    const rules = Array.from({ length: random(8) }, (): DeviceAccess => {
      const major = [undefined, 1, 8, 10][random(4)];
      const minor = [undefined, 0, 1, 229][random(4)];
      return {
        allow: random(2) === 1,
        type: random(2) === 1 ? 'b' : 'c',
        access: ['r', 'w', 'm', 'rw', 'rm', 'wm', 'rwm'][random(7)] as string,
        ...(major === undefined ? {} : { major }),
        ...(minor === undefined ? {} : { minor }),
      };
    });
    agrees({ allowOthers: random(2) === 1, rules });
  }
});
