/**
 * The engine's own types: what the CLI, the library and later the Docker API and CRI convert to and from.
 * Sizes in bytes, times in milliseconds since the epoch unless a name says otherwise, CPU in nanoseconds.
 */
import type { Context } from '../ground/context.ts';
import type { Platform } from '../image/types.ts';
import type { Plan } from '../kernel/plan.ts';
import type { PortSpec } from '../network/types.ts';

export type ContainerState = 'created' | 'running' | 'paused' | 'restarting' | 'removing' | 'exited' | 'dead';

export interface MountSpec {
  readonly type: 'bind' | 'volume' | 'tmpfs';
  /** Host path (bind), volume name (volume; empty for anonymous), nothing (tmpfs). */
  readonly source: string;
  readonly target: string;
  readonly readOnly: boolean;
  /** Bind: propagation (`rprivate` by default). */
  readonly propagation?: 'private' | 'rprivate' | 'shared' | 'rshared' | 'slave' | 'rslave';
  /** Bind: make the source directory when it is missing (`-v` does, `--mount` doesn't). */
  readonly createSource?: boolean;
  /** Bind: only the top mount. */
  readonly nonRecursive?: boolean;
  /** Volume: don't copy the image's content into an empty volume. */
  readonly noCopy?: boolean;
  readonly volumeLabels?: Readonly<Record<string, string>>;
  /** Tmpfs: bytes and octal mode; `options` as mount(8) words, e.g. `noexec,size=64m`. */
  readonly tmpfsSize?: number;
  readonly tmpfsMode?: number;
  readonly options?: readonly string[];
}

export type { PortSpec };

export interface RestartPolicy {
  readonly name: 'no' | 'always' | 'unless-stopped' | 'on-failure';
  /** on-failure: 0 for no limit. */
  readonly maximumRetryCount: number;
}

export interface Ulimit {
  readonly name: string;
  readonly soft: number;
  readonly hard: number;
}

/** Limits; absent means unlimited or the kernel's default. What `update` may change. */
export interface Resources {
  readonly memory?: number;
  /** Memory plus swap, as docker counts; -1 for unlimited swap. */
  readonly memorySwap?: number;
  readonly memoryReservation?: number;
  readonly memorySwappiness?: number;
  readonly oomKillDisable?: boolean;
  /** CPUs times 1e9. */
  readonly nanoCpus?: number;
  readonly cpuPeriod?: number;
  readonly cpuQuota?: number;
  readonly cpuShares?: number;
  readonly cpusetCpus?: string;
  readonly cpusetMems?: string;
  readonly pidsLimit?: number;
  readonly blkioWeight?: number;
}

export interface ConsoleSize {
  readonly columns: number;
  readonly rows: number;
}

export interface DeviceSpec {
  readonly hostPath: string;
  readonly containerPath: string;
  /** Any of `rwm`. */
  readonly permissions: string;
}

/** Everything about a container that its maker decides: image defaults are merged in by `create`. */
export interface ContainerConfig {
  readonly image: string;
  readonly name?: string;
  readonly platform?: Platform;
  readonly pull?: 'always' | 'missing' | 'never';
  /** Replaces the image's CMD. */
  readonly command?: readonly string[];
  /** Replaces the image's ENTRYPOINT (and clears its CMD); [] clears it. */
  readonly entrypoint?: readonly string[];
  /** `KEY=value`, laid over the image's. */
  readonly env?: readonly string[];
  readonly labels?: Readonly<Record<string, string>>;
  readonly user?: string;
  readonly groupAdd?: readonly string[];
  readonly workingDir?: string;
  readonly tty?: boolean;
  /** The terminal's size when the process starts; `resize` changes it. */
  readonly consoleSize?: ConsoleSize;
  /** Keep standard input open (-i). */
  readonly openStdin?: boolean;
  /** Close it when the first attached client leaves. */
  readonly stdinOnce?: boolean;
  readonly hostname?: string;
  readonly domainname?: string;
  readonly mounts?: readonly MountSpec[];
  /** `container[:ro]` */
  readonly volumesFrom?: readonly string[];
  readonly network?: 'none' | 'host' | 'bridge' | `container:${string}`;
  readonly ports?: readonly PortSpec[];
  readonly publishAll?: boolean;
  readonly exposedPorts?: readonly { readonly port: number; readonly protocol: 'tcp' | 'udp' }[];
  readonly dns?: readonly string[];
  readonly dnsSearch?: readonly string[];
  readonly dnsOptions?: readonly string[];
  /** `name:address` */
  readonly extraHosts?: readonly string[];
  readonly readOnlyRootfs?: boolean;
  readonly privileged?: boolean;
  /** Names with or without CAP_, or ALL. */
  readonly capAdd?: readonly string[];
  readonly capDrop?: readonly string[];
  /** `seccomp=unconfined`, `seccomp=<path>`, `no-new-privileges[=true|false]`, `apparmor=…`, `label=…`, `systempaths=unconfined` */
  readonly securityOpt?: readonly string[];
  readonly resources?: Resources;
  readonly ulimits?: readonly Ulimit[];
  readonly devices?: readonly DeviceSpec[];
  readonly sysctls?: Readonly<Record<string, string>>;
  readonly shmSize?: number;
  readonly init?: boolean;
  readonly stopSignal?: string;
  /** Seconds. */
  readonly stopTimeout?: number;
  readonly restart?: RestartPolicy;
  readonly autoRemove?: boolean;
  readonly logDriver?: 'json-file' | 'none';
  readonly logOptions?: Readonly<Record<string, string>>;
  /** '', `host`, `container:ID`; ipc also `private`, `shareable`, `none`. */
  readonly pidMode?: string;
  readonly ipcMode?: string;
  readonly utsMode?: string;
  /** '' or `host`: the host's user namespace, as in docker. An ordinary user's containers have one of their own all the same. */
  readonly usernsMode?: string;
  readonly cgroupnsMode?: 'private' | 'host';
  readonly oomScoreAdj?: number;
}

/** What `inspect` and `ps` are made of. */
export interface Container {
  readonly id: string;
  readonly name: string;
  /** As created, image defaults merged. */
  readonly config: ContainerConfig;
  /** Digest of the image's config. */
  readonly imageId: string;
  /** argv as it will be executed: entrypoint and command. */
  readonly path: string;
  readonly args: readonly string[];
  readonly createdAt: number;
  readonly state: ContainerStatus;
  readonly network: ContainerNetwork;
  readonly mounts: readonly ContainerMount[];
  readonly restartCount: number;
  readonly logPath: string;
  readonly hostnamePath: string;
  readonly hostsPath: string;
  readonly resolvConfPath: string;
  /** Only where asked for with `size`. */
  readonly sizeRw?: number;
  readonly sizeRootFs?: number;
}

export interface ContainerStatus {
  readonly state: ContainerState;
  readonly pid: number;
  readonly exitCode: number;
  readonly oomKilled: boolean;
  /** Why it could not start, or its keeper was lost; '' otherwise. */
  readonly error: string;
  readonly startedAt: number;
  readonly finishedAt: number;
}

export interface ContainerNetwork {
  readonly mode: string;
  readonly ip: string;
  readonly prefixLength: number;
  readonly gateway: string;
  readonly ip6: string;
  readonly prefixLength6: number;
  readonly gateway6: string;
  readonly mac: string;
  /** As bound: host ports chosen. */
  readonly ports: readonly PortSpec[];
}

export interface ContainerMount {
  readonly type: 'bind' | 'volume' | 'tmpfs';
  readonly name: string;
  readonly source: string;
  readonly target: string;
  readonly readOnly: boolean;
  readonly propagation: string;
}

export interface ExecConfig {
  readonly command: readonly string[];
  readonly env?: readonly string[];
  readonly user?: string;
  readonly workingDir?: string;
  readonly tty?: boolean;
  readonly consoleSize?: ConsoleSize;
  readonly stdin?: boolean;
  readonly privileged?: boolean;
  readonly detach?: boolean;
}

export interface LogOptions {
  readonly stdout?: boolean;
  readonly stderr?: boolean;
  readonly follow?: boolean;
  /** Lines from the end; absent for all. */
  readonly tail?: number;
  /** Milliseconds since the epoch, inclusive; fractions allowed. */
  readonly since?: number;
  readonly until?: number;
}

export interface LogEntry {
  readonly stream: 'stdout' | 'stderr';
  /** RFC 3339 with nanoseconds, as recorded. */
  readonly time: string;
  /** With its newline, if it had one. */
  readonly line: string;
}

export interface EngineEvent {
  readonly type: 'container' | 'image' | 'volume' | 'network';
  /** docker's words: create, start, die, destroy, pull, … */
  readonly action: string;
  readonly id: string;
  readonly attributes: Readonly<Record<string, string>>;
  readonly timeNano: bigint;
}

export interface Stats {
  readonly id: string;
  readonly name: string;
  readonly readAt: number;
  readonly cpuTotal: number;
  readonly cpuSystem: number;
  readonly onlineCpus: number;
  readonly memoryUsage: number;
  readonly memoryLimit: number;
  readonly networkRx: number;
  readonly networkTx: number;
  readonly blockRead: number;
  readonly blockWrite: number;
  readonly pids: number;
}

export interface Volume {
  readonly name: string;
  readonly driver: 'local';
  readonly mountpoint: string;
  readonly createdAt: number;
  readonly labels: Readonly<Record<string, string>>;
  readonly options: Readonly<Record<string, string>>;
}

export interface DiffEntry {
  readonly path: string;
  readonly kind: 'modified' | 'added' | 'deleted';
}

/** A running process's stdio, for the library and the CLI alike. Output is split unless there is a terminal. */
export interface Attachment extends AsyncDisposable {
  /** Frames as they come. Ends when the process's output has ended. */
  readonly output: AsyncIterable<{ readonly stream: 'stdout' | 'stderr'; readonly data: Uint8Array }>;
  write(data: Uint8Array): Promise<void>;
  /** End of standard input. */
  closeStdin(): void;
  resize(columns: number, rows: number): void;
  /** Resolves with the exit code (128 + n for signal n) once the exit record is written. */
  readonly exit: Promise<number>;
}

/** An object's filters as docker's `--filter key=value`, already split: several values of a key are alternatives. */
export type Filters = Readonly<Record<string, readonly string[]>>;

/** Containers by full id, unique id prefix or name everywhere an `id` is taken. Implemented by engine/engine.ts. */
export interface EngineApi extends AsyncDisposable {
  create(context: Context, config: ContainerConfig): Promise<{ id: string; warnings: readonly string[] }>;
  /** `attach` connects stdio before the process starts, so that nothing is lost. */
  start(
    context: Context,
    id: string,
    options?: { attach?: { stdin: boolean; stdout: boolean; stderr: boolean } },
  ): Promise<Attachment | undefined>;
  attach(
    context: Context,
    id: string,
    options: { stdin: boolean; stdout: boolean; stderr: boolean },
  ): Promise<Attachment>;
  exec(context: Context, id: string, config: ExecConfig): Promise<Attachment>;
  list(
    context: Context,
    options?: { all?: boolean; filters?: Filters; size?: boolean; last?: number },
  ): Promise<readonly Container[]>;
  inspect(context: Context, id: string, options?: { size?: boolean }): Promise<Container>;
  logs(context: Context, id: string, options?: LogOptions): AsyncIterable<LogEntry>;
  /** Signal by name or number; `timeout` in seconds, then SIGKILL. */
  stop(context: Context, id: string, options?: { timeout?: number; signal?: string }): Promise<void>;
  restart(context: Context, id: string, options?: { timeout?: number; signal?: string }): Promise<void>;
  kill(context: Context, id: string, signal?: string): Promise<void>;
  wait(context: Context, id: string, condition?: 'not-running' | 'next-exit' | 'removed'): Promise<number>;
  remove(context: Context, id: string, options?: { force?: boolean; volumes?: boolean }): Promise<void>;
  rename(context: Context, id: string, name: string): Promise<void>;
  pause(context: Context, id: string): Promise<void>;
  unpause(context: Context, id: string): Promise<void>;
  update(
    context: Context,
    id: string,
    change: { resources?: Resources; restart?: RestartPolicy },
  ): Promise<readonly string[]>;
  /** Titles and rows as ps(1) prints them for `psArgs` (docker's default: -ef). */
  top(
    context: Context,
    id: string,
    psArgs?: readonly string[],
  ): Promise<{ titles: readonly string[]; processes: readonly (readonly string[])[] }>;
  /** One sample, or with `stream` one a second. */
  stats(context: Context, id: string, options?: { stream?: boolean }): AsyncIterable<Stats>;
  diff(context: Context, id: string): Promise<readonly DiffEntry[]>;
  /** A tar stream of the path, docker's archive semantics; stat of what was asked for beside it. */
  copyFrom(context: Context, id: string, path: string): Promise<{ stat: PathStat; tar: AsyncIterable<Uint8Array> }>;
  copyTo(
    context: Context,
    id: string,
    directory: string,
    tar: AsyncIterable<Uint8Array>,
    options?: { noOverwriteDirNonDir?: boolean; copyUidGid?: boolean },
  ): Promise<void>;
  statPath(context: Context, id: string, path: string): Promise<PathStat>;
  export(context: Context, id: string): AsyncIterable<Uint8Array>;
  commit(
    context: Context,
    id: string,
    options: { reference?: string; author?: string; message?: string; changes?: readonly string[]; pause?: boolean },
  ): Promise<string>;
  events(context: Context, options?: { since?: number; until?: number; filters?: Filters }): AsyncIterable<EngineEvent>;
  /** The plan that `start` would run, from a config, touching nothing. */
  explain(context: Context, config: ContainerConfig): Promise<Plan>;
  volumes: {
    create(
      context: Context,
      options: { name?: string; labels?: Readonly<Record<string, string>>; options?: Readonly<Record<string, string>> },
    ): Promise<Volume>;
    list(context: Context, filters?: Filters): Promise<readonly Volume[]>;
    inspect(context: Context, name: string): Promise<Volume>;
    remove(context: Context, name: string, options?: { force?: boolean }): Promise<void>;
    prune(
      context: Context,
      options?: { all?: boolean; filters?: Filters },
    ): Promise<{ removed: readonly string[]; reclaimed: number }>;
  };
  /** Brings the store in line with what runs: called on start, safe at any time, by many processes at once. */
  reconcile(context: Context): Promise<void>;
}

export interface PathStat {
  readonly name: string;
  readonly size: number;
  /** st_mode. */
  readonly mode: number;
  readonly mtime: number;
  readonly linkTarget: string;
}
