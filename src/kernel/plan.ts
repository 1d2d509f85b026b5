/**
 * A plan is a list of kernel operations that keel carries out. It is data: the planner builds it without
 * privileges, tests compare it, `keelson explain` prints it, keel runs it. keel knows nothing of containers.
 *
 * Registers are 64-bit integers (descriptors, pids, results), numbered from 0, shared by parent and child as
 * of the moment of the clone (the child has a copy). Blobs are byte buffers in keel's memory: arguments,
 * structures, results. Both are allocated by PlanBuilder.
 */

export interface Reg {
  readonly reg: number;
}
export interface BlobRef {
  readonly blob: number;
  /** Byte offset of the address within the blob. */
  readonly offset?: number;
}

/** An argument: a 64-bit immediate, a register's content, or a blob's address. */
export type Value = number | bigint | Reg | BlobRef;

export interface BlobSpec {
  /** Bytes in all; what `init` does not cover is zero. */
  readonly size: number;
  readonly init: Uint8Array;
  /** 8-byte slots that receive another blob's address before the plan starts (argv, iovec, sock_fprog). */
  readonly pointers: readonly { readonly at: number; readonly to: BlobRef }[];
  /** How `explain` prints it: a path, `struct mount_attr {…}`. Not sent to keel. */
  readonly text?: string;
}

/**
 * What to do with a given errno instead of failing. The first matching rule counts; `any` matches every errno.
 * `continue`: take it as success (dst receives -errno). `jump`: go on at the label. `retry`: call again every
 * millisecond until it succeeds or `ms` have passed, then look at the rules after this one.
 * EINTR is always retried by keel, without a rule.
 */
export type ErrnoRule =
  | { readonly errno: string; readonly then: 'continue' }
  | { readonly errno: string; readonly then: 'jump'; readonly to: Label }
  | { readonly errno: string; readonly then: 'retry'; readonly ms: number };

/** A place in an operation list; resolved to an index of the same list when the plan is encoded. */
export interface Label {
  readonly label: number;
}

/** The tag of a `sync` that says nothing. */
export const unasked = 0xffffffff;

interface OpBase {
  /** What `explain` groups by: `namespaces`, `cgroup`, `root file system`, `devices`, `network`, `security`, `exec`. */
  readonly group: string;
  /** Says what is being done, for error messages: "mounting /data". Not sent to keel. */
  readonly doing: string;
}

export type Op = OpBase &
  (
    | {
        readonly op: 'syscall';
        readonly name: string;
        readonly args: readonly Value[];
        readonly dst?: Reg;
        readonly rules: readonly ErrnoRule[];
      }
    /** blob[offset, size] = value, little endian; size 1, 2, 4 or 8. */
    | { readonly op: 'poke'; readonly at: BlobRef; readonly size: 1 | 2 | 4 | 8; readonly value: Value }
    /** dst = blob[offset, size], zero-extended (sign-extended when `signed`). */
    | {
        readonly op: 'peek';
        readonly at: BlobRef;
        readonly size: 1 | 2 | 4 | 8;
        readonly signed?: boolean;
        readonly dst: Reg;
      }
    | { readonly op: 'set'; readonly dst: Reg; readonly value: Value }
    /**
     * Writes the decimal digits of value (`octal`: the octal ones), then a NUL, into the blob; dst = their count. For /proc/<pid>/…,
     * cgroup.procs, a mount's mode=.
     */
    | {
        readonly op: 'format';
        readonly at: BlobRef;
        readonly value: Value;
        readonly octal?: boolean;
        readonly dst?: Reg;
      }
    | { readonly op: 'label'; readonly label: Label }
    | { readonly op: 'jump'; readonly to: Label }
    /** Signed 64-bit comparison; jumps when it holds. */
    | {
        readonly op: 'branch';
        readonly left: Value;
        readonly is: '==' | '!=' | '<' | '>=' | '&';
        readonly right: Value;
        readonly to: Label;
      }
    /** Fails the plan with this errno, at this operation. A register holding -errno may be given instead. */
    | { readonly op: 'fail'; readonly errno: string | Reg }
    /**
     * clone3(2). The child runs `body`, then exits 0 if it is still there. dst = the child's pid; `pidfd` = its pidfd (CLOEXEC).
     * `report` = the read end of a close-on-exec pipe on which the child's failure travels; see `await`. Without it the child reports
     * where this process does: it is to take its place.
     * `cgroup` = descriptor for CLONE_INTO_CGROUP (the flag is added).
     */
    | {
        readonly op: 'clone';
        readonly flags: bigint;
        readonly exitSignal: number;
        readonly dst: Reg;
        readonly pidfd?: Reg;
        readonly report?: Reg;
        readonly cgroup?: Value;
        readonly body: readonly Op[];
      }
    /**
     * Waits until the child has executed its program or exited (end of file on `report`): goes on; or has failed: this plan fails
     * with the child's failure. Closes `report`.
     */
    | { readonly op: 'await'; readonly report: Reg }
    /**
     * Sends registers and blobs to the planner as a `sync` message and waits for the next chunk of operations, which runs in its place. With
     * the tag `unasked` nothing is sent: the chunk comes by itself.
     */
    | { readonly op: 'sync'; readonly regs: readonly Reg[]; readonly blobs: readonly BlobRef[]; readonly tag: number }
    /** The same without waiting. */
    | { readonly op: 'report'; readonly regs: readonly Reg[]; readonly blobs: readonly BlobRef[]; readonly tag: number }
    /**
     * Sends `size` bytes of netlink messages on the socket and reads until `acks` messages of type NLMSG_ERROR (or NLMSG_DONE) were seen.
     * The first that is not 0 is the operation's errno (subject to rules). Answers that are not acks are appended to `answer` if given; dst = their bytes.
     */
    | {
        readonly op: 'netlink';
        readonly fd: Value;
        readonly at: BlobRef;
        readonly size: number;
        readonly acks: number;
        readonly answer?: { readonly at: BlobRef; readonly size: number };
        readonly dst?: Reg;
        readonly rules: readonly ErrnoRule[];
      }
    /** Writes all of blob[0, size] to the descriptor (short writes are continued); same rules as a system call. */
    | {
        readonly op: 'write';
        readonly fd: Value;
        readonly at: BlobRef;
        readonly size: Value;
        readonly rules: readonly ErrnoRule[];
      }
    /** Unpacks a tar stream; see native/unpack.c and src/image/unpack.ts. dst = bytes of the tar stream consumed. */
    | { readonly op: 'unpack'; readonly from: Value; readonly root: Value; readonly flags: number; readonly dst?: Reg }
    /**
     * Packs the file or directory `path` beneath `root` into a tar stream, where it is called `name`; see native/pack.h and src/image/pack.ts.
     * Both are blobs with a NUL. dst = bytes written.
     */
    | {
        readonly op: 'pack';
        readonly root: Value;
        readonly path: BlobRef;
        readonly to: Value;
        readonly name: BlobRef;
        readonly flags: number;
        readonly dst?: Reg;
      }
    /** Turns this process into a container's keeper; the last operation of a plan. See Keep. */
    | { readonly op: 'keep'; readonly keep: Keep }
  );

/**
 * What a keeper keeps. It listens on `socket` (mode 0600), relays stdio, writes the log, reaps, writes the exit record
 * (temporary name, fsync, rename), runs `exitPlan`, then `exitCommand`.
 *
 * The process was cloned with a gate: it blocks in read(2) on a pipe until the keeper writes one byte to `gate`.
 * keel sends `kept` on the planner's channel; the planner answers `start` (gate opened; keel awaits `report` and answers
 * `started` or `failed`), or closes the channel: then the child is killed and `exitPlan` is run, nothing else.
 */
export interface Keep {
  readonly pid: Reg;
  readonly pidfd: Reg;
  readonly gate: Reg;
  readonly report: Reg;
  /** The write end of the standard input pipe; the read ends of the others. With a terminal, `terminal` alone. */
  readonly stdin?: Reg;
  readonly stdout?: Reg;
  readonly stderr?: Reg;
  readonly terminal?: Reg;
  /** Close standard input when the first client that wrote to it goes away (docker's StdinOnce). */
  readonly stdinOnce: boolean;
  /** docker's json-file format; absent for no log. Sizes in bytes, 0 for no limit; `files` ≥ 1. */
  readonly log?: { readonly path: string; readonly maxSize: number; readonly maxFiles: number };
  readonly socket: string;
  /** The exit record: JSON, see native/keep.c. */
  readonly exitRecord: string;
  /** Files whose content (first 4 KiB) goes into the exit record, e.g. memory.events. */
  readonly snapshots: readonly string[];
  /** Registers that are listening TCP sockets to be relayed to an address (sockaddr bytes): [::1] ports. */
  readonly relays: readonly { readonly listen: Reg; readonly to: Uint8Array }[];
  /** Runs when the process is gone; failures are noted in the exit record, every operation is tried. */
  readonly exitPlan: readonly Op[];
  /** argv of a program that the keeper starts after all this, detached; absent for none. Skipped while a client holds the `controller` role. */
  readonly exitCommand?: readonly string[];
}

/** A whole plan, or a chunk sent in answer to `sync` (whose register and blob numbers go on from the first). */
export interface Plan {
  readonly arch: 'x86_64' | 'aarch64';
  readonly registers: number;
  /** For `explain`: what each register holds. Not sent to keel. */
  readonly registerNames?: Readonly<Record<number, string>>;
  readonly blobs: readonly BlobSpec[];
  readonly ops: readonly Op[];
}
