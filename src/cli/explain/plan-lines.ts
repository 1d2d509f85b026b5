import type { BlobRef, ErrnoRule, Op, Plan, Reg, Value } from '../../kernel/plan.ts';
import { argumentText } from './arguments.ts';
import { bits, cloneWords } from './flag-words.ts';

/** One kernel operation of a plan, for people. */
export interface PlanLine {
  /** Its place in the order of the plan, from 1. */
  readonly number: number;
  /** The process that does it: `keel`, or the name of one that the plan starts; `exit` for what happens when the container is gone. */
  readonly process: string;
  readonly group: string;
  readonly doing: string;
  /** `openat(AT_FDCWD, "/dev/null", O_PATH|O_CLOEXEC) = $openat` */
  readonly text: string;
}

/** What only moves values around within keel and asks nothing of the kernel. */
const silent = new Set(['poke', 'peek', 'set', 'format', 'label']);

/** The kernel operations of a plan in their order, those of the processes it starts where they are started. */
export function planLines(plan: Plan): PlanLine[] {
  return new Printer(plan).lines();
}

class Printer {
  readonly #plan: Plan;
  readonly #names = new Map<number, string>();
  readonly #used = new Set<number>();
  /** Names of the registers that are read from a blob, by blob and offset. */
  readonly #peeked = new Map<number, { readonly at: number; readonly name: string }[]>();
  /** The number of the first shown operation behind a label. */
  readonly #labels = new Map<number, number>();
  readonly #lines: PlanLine[] = [];

  constructor(plan: Plan) {
    this.#plan = plan;
    this.#nameRegisters();
    this.#survey(plan.ops, { next: 1 });
  }

  lines(): PlanLine[] {
    this.#walk(this.#plan.ops, 'keel');
    return this.#lines;
  }

  /** Registers of the same name are told apart by their number. */
  #nameRegisters(): void {
    const { registerNames = {}, registers } = this.#plan;
    const seen = new Map<string, number>();
    for (let reg = 0; reg < registers; reg++) {
      const name = registerNames[reg] ?? 'r';
      const count = (seen.get(name) ?? 0) + 1;
      seen.set(name, count);
      this.#names.set(reg, count === 1 ? `$${name}` : `$${name}.${count}`);
    }
  }

  #survey(ops: readonly Op[], counter: { next: number }): void {
    for (const op of ops) {
      for (const value of reads(op)) if (typeof value === 'object' && 'reg' in value) this.#used.add(value.reg);
      if (op.op === 'label') this.#labels.set(op.label.label, counter.next);
      if (op.op === 'peek') {
        const list = this.#peeked.get(op.at.blob) ?? [];
        list.push({ at: op.at.offset ?? 0, name: this.#reg(op.dst) });
        this.#peeked.set(op.at.blob, list);
      }
      if (!silent.has(op.op)) counter.next++;
      if (op.op === 'clone') this.#survey(op.body, counter);
      if (op.op === 'keep') this.#survey(op.keep.exitPlan, counter);
    }
  }

  #walk(ops: readonly Op[], process: string): void {
    for (const op of ops) {
      if (!silent.has(op.op)) {
        const { group, doing } = op;
        this.#lines.push({ number: this.#lines.length + 1, process, group, doing, text: this.#text(op) });
      }
      if (op.op === 'clone')
        this.#walk(
          op.body,
          this.#reg(op.dst)
            .slice(1)
            .replace(/_pid(?=$|\.)/, ''),
        );
      if (op.op === 'keep') this.#walk(op.keep.exitPlan, 'exit');
    }
  }

  #reg({ reg }: Reg): string {
    return this.#names.get(reg) ?? `$${reg}`;
  }

  #value(value: Value): string {
    if (typeof value !== 'object') return String(value);
    return 'reg' in value ? this.#reg(value) : this.#blob(value);
  }

  #blob({ blob, offset = 0 }: BlobRef): string {
    const spec = this.#plan.blobs[blob];
    if (spec?.text !== undefined) return offset === 0 ? spec.text : `${spec.text}+${offset}`;
    const peeked = this.#peeked.get(blob);
    if (peeked)
      return `[${peeked
        .toSorted((a, b) => a.at - b.at)
        .map(({ name }) => name)
        .join(', ')}]`;
    return spec === undefined ? '?' : `{${spec.size} ${spec.size === 1 ? 'byte' : 'bytes'}}`;
  }

  #result(dst: Reg | undefined): string {
    return dst !== undefined && this.#used.has(dst.reg) ? ` = ${this.#reg(dst)}` : '';
  }

  #target(label: { readonly label: number }): string {
    const number = this.#labels.get(label.label);
    return number === undefined ? 'the end' : String(number);
  }

  #rules(rules: readonly ErrnoRule[]): string {
    if (rules.length === 0) return '';
    const parts = rules.map((rule) => {
      const errno = rule.errno === 'any' ? 'any error' : rule.errno;
      if (rule.then === 'jump') return `${errno}: go to ${this.#target(rule.to)}`;
      return rule.then === 'retry' ? `${errno}: try again for ${rule.ms} ms` : `${errno}: go on`;
    });
    return `  [${parts.join('; ')}]`;
  }

  #text(op: Op): string {
    const { arch } = this.#plan;
    switch (op.op) {
      case 'syscall': {
        const args = op.args.map((arg, i) =>
          typeof arg === 'object' ? this.#value(arg) : argumentText(arch, op, i, arg),
        );
        return `${op.name}(${args.join(', ')})${this.#result(op.dst)}${this.#rules(op.rules)}`;
      }
      case 'clone': {
        const into = op.cgroup === undefined ? '' : `, cgroup=${this.#value(op.cgroup)}`;
        const pidfd = op.pidfd === undefined ? 0n : 0x1000n;
        const flags = bits(op.flags | pidfd | (op.cgroup === undefined ? 0n : 0x200000000n), cloneWords);
        return `clone3({flags=${flags}, exit_signal=${op.exitSignal === 17 ? 'SIGCHLD' : op.exitSignal}${into}}) = ${this.#reg(op.dst)}`;
      }
      case 'write':
        return `write(${this.#value(op.fd)}, ${this.#blob(op.at)}, ${this.#value(op.size)})${this.#rules(op.rules)}`;
      case 'netlink':
        return `netlink(${this.#value(op.fd)}, ${this.#blob(op.at)})${this.#result(op.dst)}${this.#rules(op.rules)}`;
      case 'await':
        return `await(${this.#value(op.report)})`;
      case 'sync':
        return `sync(${op.regs.map((reg) => this.#reg(reg)).join(', ')})`;
      case 'report':
        return `report(${op.regs.map((reg) => this.#reg(reg)).join(', ')})`;
      case 'unpack':
        return `unpack(${this.#value(op.from)}, ${this.#value(op.root)}, ${op.flags})${this.#result(op.dst)}`;
      case 'keep': {
        const { keep } = op;
        const log = keep.log === undefined ? '' : `, log=${JSON.stringify(keep.log.path)}`;
        return `keep(${this.#reg(keep.pid)}, socket=${JSON.stringify(keep.socket)}${log})`;
      }
      case 'jump':
        return `go to ${this.#target(op.to)}`;
      case 'branch':
        return `if ${this.#value(op.left)} ${op.is} ${this.#value(op.right)} go to ${this.#target(op.to)}`;
      case 'fail':
        return `fail(${typeof op.errno === 'string' ? op.errno : this.#reg(op.errno)})`;
      default:
        return op.op;
    }
  }
}

/** The values that an operation looks at. */
function reads(op: Op): readonly (Value | undefined)[] {
  switch (op.op) {
    case 'syscall':
      return op.args;
    case 'poke':
    case 'set':
    case 'format':
      return [op.value];
    case 'branch':
      return [op.left, op.right];
    case 'clone':
      return [op.cgroup];
    case 'await':
      return [op.report];
    case 'sync':
    case 'report':
      return op.regs;
    case 'netlink':
      return [op.fd];
    case 'write':
      return [op.fd, op.size];
    case 'unpack':
      return [op.from, op.root];
    case 'fail':
      return typeof op.errno === 'string' ? [] : [op.errno];
    case 'keep': {
      const { pid, pidfd, gate, report, stdin, stdout, stderr, terminal } = op.keep;
      return [pid, pidfd, gate, report, stdin, stdout, stderr, terminal];
    }
    default:
      return [];
  }
}
