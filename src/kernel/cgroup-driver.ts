import type { LinuxResources } from '../spec/runtime.ts';
import type { CgroupFacts } from './facts-cgroup.ts';

/** The text of a file; undefined if it isn't there or can't be read. Injected, so that drivers are pure. */
export type ReadText = (path: string) => string | undefined;

/** A file of a cgroup and what to write to it, in one write(2). */
export interface CgroupWrite {
  /** Name within the directory: `memory.max`. */
  readonly file: string;
  readonly value: string;
  /**
   * When there is no such file: `fail`; `warn` (the limit is not to be had on this kernel: a warning was given); `ignore`.
   * Other errors: `fail` and `warn` fail, `ignore` goes on.
   */
  readonly whenMissing: 'ignore' | 'warn' | 'fail';
}

/** One directory of a hierarchy, absolute. */
export interface CgroupDirectory {
  readonly path: string;
  readonly writes: readonly CgroupWrite[];
  /** The container's own: its processes join it and it is removed at the end; else a parent, which stays. */
  readonly leaf: boolean;
}

/** How to make a container's control groups. */
export interface CgroupPlan {
  /** Parents before children; one leaf a hierarchy. Directories may exist already. */
  readonly directories: readonly CgroupDirectory[];
  /** Version 2: the leaf that clone3(2) puts the child into; other leaves are joined by writing cgroup.procs. */
  readonly cloneInto?: string;
  /** Version 2: a BPF_PROG_TYPE_CGROUP_DEVICE program to attach to `cloneInto`; see bpf-devices.ts. */
  readonly deviceProgram?: Uint8Array;
  /** Version 2: whose the leaf becomes, and the files in it that make it a tree of that user's own (cgroups(7), "Delegation"). */
  readonly delegate?: { readonly uid: number; readonly files: readonly string[] };
  /** What was asked for and can't be had here, as sentences. */
  readonly warnings: readonly string[];
}

/** Where one container's control groups are. */
export interface Cgroup {
  readonly version: 1 | 2;
  /** From the root of every hierarchy. */
  readonly path: string;
  /** Directory by controller (`memory`, `name=systemd`); version 2 has one, under ''. */
  readonly directories: Readonly<Record<string, string>>;
}

export interface CgroupRequest {
  readonly cgroup: Cgroup;
  readonly resources: LinuxResources;
  /** Leave access to devices as it is: in a user namespace the kernel would not let it be changed, and mknod(2) is no danger. */
  readonly skipDevices?: boolean;
}

/** What a container uses. Times in nanoseconds; sizes in bytes; a limit that is absent is none. */
export interface CgroupStats {
  readonly memory: {
    /** As docker counts: without the page cache that could be dropped at once (inactive_file). */
    readonly usage: number;
    readonly total: number;
    readonly peak: number;
    readonly limit?: number;
    readonly swap: number;
    readonly failures: number;
    /** memory.stat as it is. */
    readonly details: Readonly<Record<string, number>>;
  };
  readonly cpu: {
    readonly total: number;
    readonly user: number;
    readonly system: number;
    readonly perCpu: readonly number[];
    readonly periods: number;
    readonly throttledPeriods: number;
    readonly throttledTime: number;
  };
  readonly io: readonly DeviceIo[];
  readonly pids: { readonly current: number; readonly limit?: number };
}

export interface DeviceIo {
  readonly major: number;
  readonly minor: number;
  readonly readBytes: number;
  readonly writeBytes: number;
  readonly reads: number;
  readonly writes: number;
}

/** A file to write or look at, by absolute path. */
export interface CgroupFileValue {
  readonly path: string;
  readonly value: string;
}

export interface Freezer {
  readonly freeze: CgroupFileValue;
  readonly thaw: CgroupFileValue;
  /** Frozen as soon as the text of this file matches. */
  readonly state: { readonly path: string; readonly frozen: RegExp };
}

/** One version of the kernel's control groups. Pure: reads through `ReadText` only, writes nothing. */
export interface CgroupDriver {
  locate(facts: CgroupFacts, path: string): Cgroup;
  create(facts: CgroupFacts, request: CgroupRequest, read: ReadText): CgroupPlan;
  /** Writes that change an existing container's limits; see `writeLimits`. */
  update(cgroup: Cgroup, resources: LinuxResources, read: ReadText): readonly (CgroupFileValue & CgroupWrite)[];
  freezer(cgroup: Cgroup): Freezer | undefined;
  stats(cgroup: Cgroup, read: ReadText): CgroupStats;
  /** Files that tell of out-of-memory kills; see `oomKills`. */
  oomFiles(cgroup: Cgroup): readonly string[];
}
