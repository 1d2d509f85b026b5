import { KeelsonError } from '../ground/errors.ts';
import { errnoNumber } from './errno.ts';
import { archNumbers, compareNumbers, opNumbers, ruleNumbers, valueNumbers, wireVersion } from './ops.ts';
import type { ErrnoRule, Keep, Label, Op, Plan, Reg, Value } from './plan.ts';
import { syscallNumber } from './syscalls.ts';

/** A plan's bytes for keel, and its operations in the order of the ids by which keel names them in a failure. */
export interface EncodedPlan {
  readonly bytes: Uint8Array;
  /** ops[i] has the id firstId + i: every operation but the labels, nested ones after the one that holds them. */
  readonly ops: readonly Op[];
}

const noRegister = 0xffffffff;
const comparisons = { '==': 'eq', '!=': 'ne', '<': 'lt', '>=': 'ge', '&': 'and' } as const;

/**
 * Encodes a plan; docs/keel.md has the layout, native/plan.c reads it. `firstId` is the count of operations that were sent
 * on the same channel before (0 but for chunks). Throws `invalid-argument` naming the operation that can't be encoded.
 */
export function encodePlan(plan: Plan, firstId = 0): EncodedPlan {
  return new Encoder(plan, firstId).encode();
}

class Encoder {
  #bytes: Buffer<ArrayBuffer>;
  #view: DataView;
  #at = 0;
  readonly #plan: Plan;
  readonly #firstId: number;
  readonly #ops: Op[] = [];
  #labels = new Map<number, number>();
  #op: Op | undefined;

  constructor(plan: Plan, firstId: number) {
    this.#plan = plan;
    this.#firstId = firstId;
    this.#bytes = Buffer.allocUnsafeSlow(64 * 1024);
    this.#view = new DataView(this.#bytes.buffer);
  }

  encode(): EncodedPlan {
    const { arch, registers, blobs, ops } = this.#plan;
    for (const word of [wireVersion, archNumbers[arch], this.#firstId, registers]) this.#u32(word);
    this.#u32(blobs.length);
    for (const { size, init } of blobs) {
      this.#u32(size);
      this.#counted(init);
    }
    this.#pointers();
    this.#list(ops);
    return { bytes: this.#bytes.subarray(0, this.#at), ops: this.#ops };
  }

  #pointers(): void {
    const { blobs } = this.#plan;
    const countAt = this.#at;
    let count = 0;
    this.#u32(0);
    for (let i = 0; i < blobs.length; i++) {
      for (const { at, to } of blobs[i]?.pointers ?? []) {
        count++;
        this.#u32(i); // among the blobs of this message; `to` may be one sent before
        this.#u32(at);
        this.#u32(to.blob);
        this.#u32(to.offset ?? 0);
      }
    }
    this.#view.setUint32(countAt, count, true);
  }

  #list(ops: readonly Op[]): void {
    const outer = this.#labels;
    this.#labels = new Map();
    let count = 0;
    for (const op of ops) {
      if (op.op === 'label') this.#labels.set(op.label.label, count);
      else count++;
    }
    this.#u32(count);
    for (const op of ops) {
      if (op.op === 'label') continue;
      this.#op = op;
      this.#ops.push(op);
      this.#encodeOp(op);
    }
    this.#labels = outer;
  }

  #encodeOp(op: Op): void {
    switch (op.op) {
      case 'syscall':
        this.#head(op.op, op.args.length, op.rules.length, op.dst, syscallNumber(this.#plan.arch, op.name));
        for (const arg of op.args) this.#value(arg);
        return this.#rules(op.rules);
      case 'poke':
        this.#head(op.op, 2, 0, undefined, op.size);
        this.#value(op.at);
        return this.#value(op.value);
      case 'peek':
        this.#head(op.op, 1, 0, op.dst, op.size | (op.signed ? 0x100 : 0));
        return this.#value(op.at);
      case 'set':
        this.#head(op.op, 1, 0, op.dst);
        return this.#value(op.value);
      case 'format':
        this.#head(op.op, 2, 0, op.dst, op.octal ? 8 : 10);
        this.#value(op.at);
        return this.#value(op.value);
      case 'label':
        return; // a place, known by the number of the operation after it
      case 'jump':
        return this.#head(op.op, 0, 0, undefined, 0, this.#target(op.to));
      case 'branch':
        this.#head(op.op, 2, 0, undefined, compareNumbers[comparisons[op.is]], this.#target(op.to));
        this.#value(op.left);
        return this.#value(op.right);
      case 'fail':
        this.#head(op.op, 1, 0);
        return this.#value(typeof op.errno === 'string' ? this.#errno(op.errno) : op.errno);
      case 'clone':
        this.#head(op.op, 4, 0, op.dst, op.exitSignal);
        this.#value(op.flags);
        this.#value(op.report);
        this.#value(op.pidfd);
        this.#value(op.cgroup);
        return this.#list(op.body);
      case 'await':
        this.#head(op.op, 1, 0);
        return this.#value(op.report);
      case 'sync':
      case 'report':
        this.#head(op.op, op.regs.length + op.blobs.length, 0, undefined, op.tag);
        for (const reg of op.regs) this.#value(reg);
        for (const blob of op.blobs) this.#value(blob);
        return;
      case 'netlink':
        this.#head(op.op, 6, op.rules.length, op.dst);
        for (const value of [op.fd, op.at, op.size, op.acks, op.answer?.at, op.answer?.size ?? 0]) this.#value(value);
        return this.#rules(op.rules);
      case 'write':
        this.#head(op.op, 3, op.rules.length);
        for (const value of [op.fd, op.at, op.size]) this.#value(value);
        return this.#rules(op.rules);
      case 'unpack':
        this.#head(op.op, 2, 0, op.dst, op.flags);
        this.#value(op.from);
        return this.#value(op.root);
      case 'pack':
        this.#head(op.op, 4, 0, op.dst, op.flags);
        for (const value of [op.root, op.path, op.to, op.name]) this.#value(value);
        return;
      case 'keep':
        return this.#keep(op.keep);
    }
  }

  #keep(keep: Keep): void {
    const regs = [keep.pid, keep.pidfd, keep.gate, keep.report, keep.stdin, keep.stdout, keep.stderr, keep.terminal];
    this.#head('keep', regs.length, 0, undefined, keep.stdinOnce ? 1 : 0);
    for (const reg of regs) this.#value(reg);
    this.#string(keep.log?.path ?? '');
    this.#i64(BigInt(keep.log?.maxSize ?? 0));
    this.#u32(keep.log?.maxFiles ?? 1);
    this.#string(keep.socket);
    this.#string(keep.exitRecord);
    for (const list of [keep.snapshots, keep.exitCommand ?? []]) {
      this.#u32(list.length);
      for (const text of list) this.#string(text);
    }
    this.#u32(keep.relays.length);
    for (const { listen, to } of keep.relays) {
      this.#u32(listen.reg);
      this.#counted(to);
    }
    this.#list(keep.exitPlan);
  }

  #head(op: keyof typeof opNumbers, values: number, rules: number, dst?: Reg, number = 0, target = 0): void {
    this.#reserve(20);
    const { at, view } = { at: this.#at, view: this.#view };
    view.setUint16(at, opNumbers[op], true);
    view.setUint16(at + 2, values, true);
    view.setUint16(at + 4, rules, true);
    view.setUint16(at + 6, 0, true);
    view.setUint32(at + 8, dst?.reg ?? noRegister, true);
    view.setUint32(at + 12, number, true);
    view.setUint32(at + 16, target, true);
    this.#at += 20;
  }

  #value(value: Value | undefined): void {
    this.#reserve(16);
    if (value === undefined) return this.#valueWords(valueNumbers.none, 0, 0, 0);
    if (typeof value === 'number') {
      if (!Number.isSafeInteger(value)) throw this.#error(`${value} is not an integer`);
      const high = Math.floor(value / 0x100000000);
      return this.#valueWords(valueNumbers.imm, 0, value - high * 0x100000000, high);
    }
    if (typeof value === 'bigint') {
      const low = Number(BigInt.asUintN(32, value));
      return this.#valueWords(valueNumbers.imm, 0, low, Number(BigInt.asIntN(32, value >> 32n)));
    }
    if ('reg' in value) return this.#valueWords(valueNumbers.reg, value.reg, 0, 0);
    this.#valueWords(valueNumbers.blob, value.blob, value.offset ?? 0, 0);
  }

  #valueWords(kind: number, index: number, low: number, high: number): void {
    const { at, view } = { at: this.#at, view: this.#view };
    view.setUint32(at, kind, true);
    view.setUint32(at + 4, index, true);
    view.setUint32(at + 8, low, true);
    view.setInt32(at + 12, high, true);
    this.#at += 16;
  }

  #rules(rules: readonly ErrnoRule[]): void {
    for (const rule of rules) {
      this.#u32(rule.errno === 'any' ? 0 : this.#errno(rule.errno));
      this.#u32(ruleNumbers[rule.then]);
      this.#u32(rule.then === 'jump' ? this.#target(rule.to) : rule.then === 'retry' ? rule.ms : 0);
    }
  }

  #target(label: Label): number {
    const index = this.#labels.get(label.label);
    if (index === undefined) throw this.#error(`label ${label.label} is not placed in the same list`);
    return index;
  }

  #errno(name: string): number {
    const number = errnoNumber(name);
    if (number === undefined) throw this.#error(`there is no errno ${name}`);
    return number;
  }

  #string(text: string): void {
    this.#counted(Buffer.from(text));
  }

  #counted(bytes: Uint8Array): void {
    this.#u32(bytes.length);
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.#at);
    this.#at += bytes.length;
  }

  #u32(value: number): void {
    this.#reserve(4);
    this.#view.setUint32(this.#at, value, true);
    this.#at += 4;
  }

  #i64(value: bigint): void {
    this.#reserve(8);
    this.#view.setBigInt64(this.#at, value, true);
    this.#at += 8;
  }

  #reserve(more: number): void {
    if (this.#at + more <= this.#bytes.length) return;
    let size = this.#bytes.length;
    while (size < this.#at + more) size *= 2;
    const grown = Buffer.allocUnsafeSlow(size);
    grown.set(this.#bytes.subarray(0, this.#at));
    this.#bytes = grown;
    this.#view = new DataView(grown.buffer);
  }

  #error(why: string): KeelsonError {
    const op = this.#op;
    const name = op?.op === 'syscall' ? op.name : op?.op;
    return new KeelsonError('invalid-argument', `encoding a plan: ${op?.doing} (${name}): ${why}`, {
      details: { op: this.#firstId + this.#ops.length - 1 },
    });
  }
}
