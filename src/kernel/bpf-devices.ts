import type { DeviceAccess, DevicePolicy } from './device-rules.ts';

/**
 * Access to devices in cgroup v2 is decided by an eBPF program on the group (BPF_PROG_TYPE_CGROUP_DEVICE). It gets
 * struct bpf_cgroup_dev_ctx {u32 access_type (access << 16 | type), u32 major, u32 minor} and returns 1 to allow, 0 to deny. Numbers: linux/bpf.h.
 */

const deviceTypes = { b: 1, c: 2 } as const;
const accessBits = { m: 1, r: 2, w: 4 } as const;
const anyAccess = 7;

/** One instruction, 8 bytes: opcode, destination and source register, 16-bit jump offset, 32-bit immediate. */
interface Instruction {
  readonly op: number;
  readonly dst?: number;
  readonly src?: number;
  readonly off?: number;
  readonly imm?: number;
}

// Opcodes that are used here (linux/bpf_common.h, bpf.h): class | size or operation | source.
const LDX_W = 0x61;
const MOV_K = 0xb4;
const MOV_X = 0xbc;
const AND_K = 0x54;
const RSH_K = 0x74;
const JEQ_K = 0x16;
const JNE_K = 0x56;
const EXIT = 0x95;

// Registers: R1 comes with the context's address.
const [R0, R1, R2, R3, R4, R5] = [0, 1, 2, 3, 4, 5];

/**
 * The program of a policy: struct bpf_insn[]. Rules are tried from the last to the first, each deciding the accesses (read, write,
 * mknod) that it names; what is denied by one denies the whole.
 */
export function compileDevicePolicy(policy: DevicePolicy): Uint8Array {
  const answer = (allow: boolean): Instruction[] => [{ op: MOV_K, dst: R0, imm: allow ? 1 : 0 }, { op: EXIT }];
  const program: Instruction[] = [
    { op: LDX_W, dst: R2, src: R1, off: 0 },
    { op: MOV_X, dst: R3, src: R2 },
    { op: AND_K, dst: R2, imm: 0xffff }, // R2: type
    { op: RSH_K, dst: R3, imm: 16 }, // R3: the accesses that are not decided yet
    { op: LDX_W, dst: R4, src: R1, off: 4 },
    { op: LDX_W, dst: R5, src: R1, off: 8 },
  ];
  for (const rule of policy.rules.toReversed()) program.push(...block(rule, answer));
  program.push(...answer(policy.allowOthers));
  return encode(program);
}

function block(rule: DeviceAccess, answer: (allow: boolean) => Instruction[]): Instruction[] {
  const bits = accessBit(rule, 'r') | accessBit(rule, 'w') | accessBit(rule, 'm');
  const decide: Instruction[] = rule.allow
    ? [{ op: AND_K, dst: R3, imm: anyAccess & ~bits }, { op: JNE_K, dst: R3, imm: 0, off: 2 }, ...answer(true)]
    : [
        { op: MOV_X, dst: R0, src: R3 },
        { op: AND_K, dst: R0, imm: bits },
        { op: JEQ_K, dst: R0, imm: 0, off: 2 },
        ...answer(false),
      ];
  const conditions: { dst: number; imm: number }[] = [{ dst: R2, imm: deviceTypes[rule.type] }];
  if (rule.major !== undefined) conditions.push({ dst: R4, imm: rule.major });
  if (rule.minor !== undefined) conditions.push({ dst: R5, imm: rule.minor });
  return [
    ...conditions.map(({ dst, imm }, i) => ({ op: JNE_K, dst, imm, off: conditions.length - 1 - i + decide.length })),
    ...decide,
  ];
}

function accessBit(rule: DeviceAccess, access: keyof typeof accessBits): number {
  return rule.access.includes(access) ? accessBits[access] : 0;
}

function encode(program: readonly Instruction[]): Uint8Array {
  const bytes = Buffer.alloc(program.length * 8);
  for (const [i, { op, dst = 0, src = 0, off = 0, imm = 0 }] of program.entries()) {
    bytes.writeUInt8(op, i * 8);
    bytes.writeUInt8((src << 4) | dst, i * 8 + 1);
    bytes.writeInt16LE(off, i * 8 + 2);
    bytes.writeInt32LE(imm | 0, i * 8 + 4);
  }
  return bytes;
}
