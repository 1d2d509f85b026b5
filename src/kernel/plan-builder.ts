import { CLONE_PARENT } from './constants.ts';
import type { PlanMessage } from './plan-answers.ts';
import type { BlobRef, BlobSpec, ErrnoRule, Keep, Label, Op, Plan, Reg, Value } from './plan.ts';
import { unasked } from './plan.ts';

/** Strings among arguments become NUL-terminated blobs; equal ones share a blob. */
export type Arg = Value | string;

/** Per-errno policy in short form: `{ EEXIST: 'continue', ENOENT: label, EBUSY: { retryMs: 500 }, any: 'continue' }`. */
export type Rules = Readonly<Record<string, 'continue' | Label | { readonly retryMs: number }>>;

export interface SysOptions {
  /** For errors: "mounting /data". Defaults to the last `doing()`. */
  readonly doing?: string;
  /** What tells this call from others that do the same: "option size=64k". */
  readonly detail?: string;
  readonly on?: Rules;
  /** Put the result into this register instead of a new one. */
  readonly dst?: Reg;
}

/** A field of a structure: byte offset, byte size, value. A register is poked in, a blob becomes a pointer. */
export type Field = readonly [at: number, size: 1 | 2 | 4 | 8, value: Value];

/** Makes the operations that go on where a plan stopped to ask. */
export type Answer = (chunk: PlanBuilder, message: PlanMessage) => void;

/** The tags of `ask`, far from those that others choose. */
const firstQuestion = 1000;

/**
 * Builds a Plan. Operations go to the current list; `clone` and `keep`'s exit plan open a nested one for the
 * length of a callback. Registers and blobs are numbered across all lists.
 */
export class PlanBuilder {
  readonly arch: Plan['arch'];
  #ops: Op[] = [];
  #group = '';
  #doing = '';
  #registers: number;
  #labels = 0;
  #blobBase: number;
  #blobs: BlobSpec[] = [];
  readonly #strings = new Map<string, BlobRef>();
  readonly #constants = new Map<string, BlobRef>();
  readonly #names: string[];
  /** What was asked, and the last chunk that the process which asks was sent: its registers and blobs go on from there. */
  readonly #questions: Answer[];
  readonly #sent: { last: PlanBuilder };
  #later: (() => void) | undefined;

  /** `after`: the plan of which this one is a chunk, sent in answer to a `sync`. */
  constructor(arch: Plan['arch'], after?: PlanBuilder) {
    this.arch = arch;
    this.#registers = after ? after.#registers : 0;
    this.#blobBase = after ? after.#blobBase + after.#blobs.length : 0;
    this.#names = after ? [...after.#names] : [];
    this.#questions = after ? after.#questions : [];
    this.#sent = after ? after.#sent : { last: this };
  }

  /** Names the purpose of the operations that follow, for `explain`. */
  group(name: string): this {
    this.#group = name;
    return this;
  }

  /** Says what the operations that follow are doing, for errors. */
  doing(text: string): this {
    this.#doing = text;
    return this;
  }

  reg(name: string): Reg {
    const reg = { reg: this.#registers++ };
    this.#names[reg.reg] = name;
    return reg;
  }

  label(): Label {
    return { label: this.#labels++ };
  }

  place(label: Label): void {
    this.#push({ op: 'label', label });
  }

  /** A zeroed buffer of `size` bytes, or one holding `init`. */
  blob(init: number | Uint8Array, text?: string, pointers: BlobSpec['pointers'] = []): BlobRef {
    const bytes = typeof init === 'number' ? nothing : init;
    const size = typeof init === 'number' ? init : init.length;
    this.#blobs.push(text === undefined ? { size, init: bytes, pointers } : { size, init: bytes, pointers, text });
    return { blob: this.#blobBase + this.#blobs.length - 1 };
  }

  /** The NUL-terminated constant. Never poke into it: it may be shared. */
  string(text: string): BlobRef {
    const known = this.#strings.get(text);
    if (known) return known;
    const ref = this.blob(Buffer.from(`${text}\0`), JSON.stringify(text));
    this.#strings.set(text, ref);
    return ref;
  }

  /** What is made once in a plan, under a key. Never poke into it. */
  constant(key: string, make: () => BlobRef): BlobRef {
    let known = this.#constants.get(key);
    if (!known) this.#constants.set(key, (known = make()));
    return known;
  }

  /** A NULL-terminated array of pointers to strings, as execve(2) wants. */
  strings(list: readonly (string | BlobRef)[]): BlobRef {
    const pointers = list.map((s, i) => ({ at: i * 8, to: typeof s === 'string' ? this.string(s) : s }));
    const words = list.map((s) => (typeof s === 'string' ? s : '…'));
    return this.blob((list.length + 1) * 8, JSON.stringify(words), pointers);
  }

  /** A structure; fields not named are zero. `text` is how `explain` shows it. */
  struct(text: string, size: number, fields: readonly Field[]): BlobRef {
    // From Node's pool: there are hundreds of these in a plan, and a buffer of its own is dear.
    const bytes = Buffer.allocUnsafe(size).fill(0);
    const pointers: { at: number; to: BlobRef }[] = [];
    const pokes: Field[] = [];
    for (const [at, width, value] of fields) {
      if (typeof value === 'object' && 'blob' in value) pointers.push({ at, to: value });
      else if (typeof value === 'object') pokes.push([at, width, value]);
      else if (typeof value === 'number' && value >= 0 && value <= 0xffffffff && width >= 4)
        bytes.writeUInt32LE(value, at);
      else if (width === 8) bytes.writeBigUInt64LE(BigInt.asUintN(64, BigInt(value)), at);
      else bytes.writeUIntLE(Number(BigInt.asUintN(width * 8, BigInt(value))), at, width);
    }
    const ref = this.blob(bytes, text, pointers);
    for (const [at, width, value] of pokes) this.poke({ ...ref, offset: at }, width, value);
    return ref;
  }

  /** One system call; the result is in the register returned. */
  sys(name: string, args: readonly Arg[], options: SysOptions = {}): Reg {
    const dst = options.dst ?? this.reg(name);
    const values: Value[] = [];
    for (const arg of args) values.push(this.#value(arg));
    // Not by #push: most operations are system calls, and a plan has hundreds.
    this.#ops.push({
      op: 'syscall',
      name,
      args: values,
      dst,
      rules: rulesOf(options.on),
      group: this.#group,
      doing: options.doing ?? (options.detail === undefined ? this.#doing : `${this.#doing}: ${options.detail}`),
    });
    return dst;
  }

  poke(at: BlobRef, size: 1 | 2 | 4 | 8, value: Value): void {
    this.#push({ op: 'poke', at, size, value });
  }

  peek(at: BlobRef, size: 1 | 2 | 4 | 8, name = 'value'): Reg {
    const dst = this.reg(name);
    this.#push({ op: 'peek', at, size, dst });
    return dst;
  }

  set(dst: Reg, value: Value): void {
    this.#push({ op: 'set', dst, value });
  }

  /** Decimal (or octal) digits of `value` at `at`; the register holds their count. */
  format(at: BlobRef, value: Value, options: { octal?: boolean } = {}): Reg {
    const dst = this.reg('digits');
    this.#push({ op: 'format', at, value, dst, ...options });
    return dst;
  }

  jump(to: Label): void {
    this.#push({ op: 'jump', to });
  }

  branch(left: Value, is: '==' | '!=' | '<' | '>=' | '&', right: Value, to: Label): void {
    this.#push({ op: 'branch', left, is, right, to });
  }

  fail(errno: string | Reg, doing?: string): void {
    this.#push({ op: 'fail', errno }, doing);
  }

  write(fd: Value, content: BlobRef | string, options: SysOptions & { size?: Value } = {}): void {
    const bytes = typeof content === 'string' ? Buffer.from(content) : undefined;
    const at = bytes ? this.blob(bytes, JSON.stringify(content)) : (content as BlobRef);
    const size = options.size ?? bytes?.length ?? this.#sizeOf(at);
    this.#push({ op: 'write', fd, at, size, rules: rulesOf(options.on) }, options.doing);
  }

  /** Sends netlink messages and awaits `acks` answers. */
  netlink(
    fd: Value,
    messages: BlobRef,
    size: number,
    acks: number,
    options: SysOptions & { answer?: { at: BlobRef; size: number } } = {},
  ): Reg {
    const dst = options.dst ?? this.reg('answered');
    const op = { op: 'netlink', fd, at: messages, size, acks, dst, rules: rulesOf(options.on) } as const;
    this.#push(options.answer ? { ...op, answer: options.answer } : op, options.doing);
    return dst;
  }

  /** clone3(2); `body` fills the child's operations. */
  clone(
    options: { flags: bigint; exitSignal?: number; cgroup?: Value; pidfd?: boolean; name?: string },
    body: () => void,
  ): { pid: Reg; pidfd: Reg | undefined; report: Reg } {
    const name = options.name ?? 'child';
    const pid = this.reg(`${name}_pid`);
    const report = this.reg(`${name}_report`);
    const pidfd = options.pidfd === false ? undefined : this.reg(`${name}_pidfd`);
    const [group, doing] = [this.#group, this.#doing];
    const ops = this.#nested(body);
    [this.#group, this.#doing] = [group, doing];
    this.#push({
      op: 'clone',
      flags: options.flags,
      exitSignal: options.exitSignal ?? 17,
      dst: pid,
      report,
      body: ops,
      ...(pidfd && { pidfd }),
      ...(options.cgroup !== undefined && { cgroup: options.cgroup }),
    });
    return { pid, pidfd, report };
  }

  /** clone3(2) with CLONE_PARENT: a child of this process's parent, in this one's place. Its exit signal is this one's. */
  cloneSuccessor(name: string, flags: bigint, body: () => void): Reg {
    const dst = this.reg(`${name}_pid`);
    const [group, doing] = [this.#group, this.#doing];
    const ops = this.#nested(body);
    [this.#group, this.#doing] = [group, doing];
    this.#push({ op: 'clone', flags: CLONE_PARENT | flags, exitSignal: 0, dst, body: ops });
    return dst;
  }

  await(report: Reg, doing?: string): void {
    this.#push({ op: 'await', report }, doing);
  }

  sync(tag: number, regs: readonly Reg[], blobs: readonly BlobRef[]): void {
    this.#push({ op: 'sync', tag, regs, blobs });
  }

  /** What `fill` adds is sent after the plan (see `rest`), while what comes before it is carried out already. Once, and not before questions. */
  later(fill: () => void): void {
    this.sync(unasked, [], []);
    this.#later = fill;
  }

  /** After `build`: the chunk that `later` has promised. This builder goes on with it. */
  rest(): Plan {
    this.#blobBase += this.#blobs.length;
    this.#blobs = [];
    this.#ops = [];
    this.#later?.();
    return this.build();
  }

  /** A `sync` that `reply` answers: all questions of a plan have to be asked by one and the same process. */
  ask(regs: readonly Reg[], blobs: readonly BlobRef[], answer: Answer): void {
    this.sync(firstQuestion + this.#questions.length, regs, blobs);
    this.#questions.push(answer);
  }

  /** The chunk that answers one of the questions; undefined for a message that is none. */
  reply(message: PlanMessage): Plan | undefined {
    const answer = this.#questions[message.tag - firstQuestion];
    if (!answer) return undefined;
    const chunk = new PlanBuilder(this.arch, this.#sent.last);
    this.#sent.last = chunk;
    answer(chunk, message);
    return chunk.build();
  }

  report(tag: number, regs: readonly Reg[], blobs: readonly BlobRef[]): void {
    this.#push({ op: 'report', tag, regs, blobs });
  }

  unpack(from: Value, root: Value, flags: number): Reg {
    const dst = this.reg('unpacked');
    this.#push({ op: 'unpack', from, root, flags, dst });
    return dst;
  }

  pack(root: Value, path: BlobRef | string, to: Value, name: BlobRef | string, flags: number): Reg {
    const dst = this.reg('packed');
    const blob = (text: BlobRef | string): BlobRef => (typeof text === 'string' ? this.string(text) : text);
    this.#push({ op: 'pack', root, path: blob(path), to, name: blob(name), flags, dst });
    return dst;
  }

  /** The last operation: become the keeper. `exitPlan` fills the operations that run when the process is gone. */
  keep(keep: Omit<Keep, 'exitPlan'>, exitPlan: () => void): void {
    const [group, doing] = [this.#group, this.#doing];
    const ops = this.#nested(exitPlan);
    [this.#group, this.#doing] = [group, doing];
    this.#push({ op: 'keep', keep: { ...keep, exitPlan: ops } });
  }

  build(): Plan {
    return {
      arch: this.arch,
      registers: this.#registers,
      registerNames: this.#names,
      blobs: this.#blobs,
      ops: this.#ops,
    };
  }

  #nested(fill: () => void): Op[] {
    const outer = this.#ops;
    this.#ops = [];
    try {
      fill();
      return this.#ops;
    } finally {
      this.#ops = outer;
    }
  }

  #value(arg: Arg): Value {
    return typeof arg === 'string' ? this.string(arg) : arg;
  }

  #sizeOf(at: BlobRef): number {
    const spec = this.#blobs[at.blob - this.#blobBase];
    if (!spec) throw new RangeError(`blob ${at.blob} is not of this plan`);
    return spec.size - (at.offset ?? 0);
  }

  #push(op: Op extends infer O ? (O extends Op ? Omit<O, 'group' | 'doing'> : never) : never, doing?: string): void {
    this.#ops.push({ ...op, group: this.#group, doing: doing ?? this.#doing });
  }
}

const nothing = new Uint8Array(0);
const noRules: ErrnoRule[] = [];

function rulesOf(on: Rules | undefined): ErrnoRule[] {
  if (on === undefined) return noRules;
  const rules: ErrnoRule[] = [];
  for (const errno in on) {
    const then = on[errno];
    if (then === undefined) continue;
    if (then === 'continue') rules.push({ errno, then });
    else if ('label' in then) rules.push({ errno, then: 'jump', to: then });
    else rules.push({ errno, then: 'retry', ms: then.retryMs });
  }
  return rules;
}
