import { KeelsonError } from '../../../ground/errors.ts';
import { execProcess } from '../../../runtime/lifecycle/exec.ts';
import { specOf } from '../../../runtime/lifecycle/start.ts';
import { validateProcess } from '../../../spec/config.ts';
import type { Process, Spec, User } from '../../../spec/runtime.ts';
import { parseExact } from '../../../spec/shape.ts';
import type { Flags, Parsed } from '../flags.ts';
import { readInput } from '../read-input.ts';
import type { Command, Session } from '../session.ts';
import { checkConsole } from './create.ts';
import { exitCode } from './run.ts';

const flags: Flags = {
  'console-socket': { kind: 'text' },
  'pidfd-socket': { kind: 'text' },
  cwd: { kind: 'text' },
  env: { kind: 'list', short: ['e'] },
  tty: { kind: 'bool', short: ['t'] },
  user: { kind: 'text', short: ['u'] },
  'additional-gids': { kind: 'list', short: ['g'] },
  process: { kind: 'text', short: ['p'] },
  detach: { kind: 'bool', short: ['d'] },
  'pid-file': { kind: 'text' },
  'process-label': { kind: 'text' },
  apparmor: { kind: 'text' },
  'no-new-privs': { kind: 'bool' },
  cap: { kind: 'list', short: ['c'] },
  'preserve-fds': { kind: 'text' },
  cgroup: { kind: 'list' },
  'ignore-paused': { kind: 'bool' },
  'no-subreaper': { kind: 'bool' },
};

export const exec: Command = {
  flags,
  first: true,
  async run(session, args) {
    const { host, call, path } = session;
    const [id, ...command] = args.words;
    if (id === undefined)
      throw new KeelsonError('invalid-argument', 'exec needs at least 1 argument: the ID of a container');
    const found = host.store.find(id);
    const spec = specOf(found);
    const process = await processOf(session, spec, args, command);
    const detach = args.bool('detach');
    const consoleSocket = args.text('console-socket');
    const pidfdSocket = args.text('pidfd-socket');
    checkConsole(process.terminal === true, consoleSocket, detach);
    const pidFile = args.text('pid-file');
    const child = await execProcess(host, {
      found,
      spec,
      process,
      ...(consoleSocket !== undefined && { consoleSocket: path(consoleSocket) }),
      ...(pidfdSocket && { pidfdSocket: path(pidfdSocket) }),
      ...(pidFile !== undefined && { pidFile: path(pidFile) }),
      preserveFds: args.number('preserve-fds') ?? 0,
      ignorePaused: args.bool('ignore-paused'),
      cgroup: subgroups(args.list('cgroup')),
    });
    if (detach) return 0;
    const { status } = await call.supervise(child, { leave: true });
    return exitCode(status);
  },
};

async function processOf(session: Session, spec: Spec, args: Parsed, command: readonly string[]): Promise<Process> {
  const file = args.text('process');
  if (file !== undefined) {
    const text = await readInput(session, file);
    const process = validateProcess(parseExact(text, file));
    if (!process.args?.length) throw new KeelsonError('invalid-argument', 'process args cannot be empty');
    const whole = asTheContainer(process, spec.process);
    return args.bool('tty') ? { ...whole, terminal: true } : whole;
  }
  if (command.length === 0) throw new KeelsonError('invalid-argument', 'process args cannot be empty');
  const base = spec.process;
  if (!base) throw new KeelsonError('invalid-argument', 'the container has no process to take after');
  const { terminal: _, consoleSize: __, ...rest } = base;
  const user = args.text('user');
  const gids = args.list('additional-gids').map((gid) => idNumber(gid, 'additional gid'));
  const caps = args.list('cap');
  const added = (list: readonly string[] | undefined) => [...new Set([...(list ?? []), ...caps])];
  const own = base.capabilities ?? {};
  const label = args.text('process-label');
  const apparmor = args.text('apparmor');
  return {
    ...rest,
    args: command,
    terminal: args.bool('tty'),
    cwd: args.text('cwd') ?? base.cwd,
    env: [...(base.env ?? []), ...args.list('env')],
    user: {
      ...(user === undefined ? base.user : parseUser(user, base.user)),
      ...(gids.length > 0 && { additionalGids: [...(base.user.additionalGids ?? []), ...gids] }),
    },
    ...(caps.length > 0 && {
      capabilities: {
        bounding: added(own.bounding),
        effective: added(own.effective),
        permitted: added(own.permitted),
        ...(own.inheritable && { inheritable: own.inheritable }),
        ...(own.ambient && { ambient: added(own.ambient) }),
      },
    }),
    ...(args.text('no-new-privs') !== undefined && { noNewPrivileges: args.bool('no-new-privs') }),
    ...(label !== undefined && { selinuxLabel: label }),
    ...(apparmor !== undefined && { apparmorProfile: apparmor }),
  };
}

/** As with runc, a process that says nothing of its privileges, limits and scheduling has those of the container. */
function asTheContainer(process: Process, base: Process | undefined): Process {
  if (!base) return process;
  const { capabilities, rlimits, apparmorProfile, selinuxLabel, oomScoreAdj, scheduler, ioPriority, execCPUAffinity } =
    base;
  const { umask } = base.user;
  const inherited = {
    capabilities,
    rlimits,
    apparmorProfile,
    selinuxLabel,
    oomScoreAdj,
    scheduler,
    ioPriority,
    execCPUAffinity,
  };
  const given = Object.entries(inherited).filter(([, value]) => value !== undefined);
  return {
    ...Object.fromEntries(given),
    ...process,
    user: { ...(umask !== undefined && { umask }), ...process.user },
  };
}

/** `UID[:GID]`, numbers only: names are looked up by who calls the runtime. */
function parseUser(text: string, base: User): User {
  const colon = text.indexOf(':');
  const [uid, gid] = colon < 0 ? [text] : [text.slice(0, colon), text.slice(colon + 1)];
  return { ...base, uid: idNumber(uid, 'uid'), gid: gid === undefined ? base.gid : idNumber(gid, 'gid') };
}

function idNumber(text: string, what: string): number {
  const number = Number(text);
  if (!/^\d+$/.test(text) || number > 0xfffffffe)
    throw new KeelsonError('invalid-argument', `parsing ${text} as ${what} failed: not a number`);
  return number;
}

/** `PATH` or `CONTROLLER[,CONTROLLER]:PATH`. */
function subgroups(list: readonly string[]): Record<string, string> {
  const result: Record<string, string> = {};
  for (const entry of list) {
    const colon = entry.indexOf(':');
    const sub = entry.slice(colon + 1);
    if (sub.split('/').includes('..'))
      throw new KeelsonError('invalid-argument', `bad sub cgroup path: ${sub} is not a sub cgroup path`);
    if (colon < 0 && list.length > 1)
      throw new KeelsonError('invalid-argument', `invalid --cgroup argument: ${entry} (missing <controller>: prefix)`);
    for (const controller of colon < 0 ? [''] : entry.slice(0, colon).split(',')) {
      if (colon >= 0 && controller === '')
        throw new KeelsonError('invalid-argument', `invalid --cgroup argument: ${entry} (empty <controller> prefix)`);
      if (controller in result)
        throw new KeelsonError(
          'invalid-argument',
          `invalid --cgroup argument(s): controller ${controller} specified multiple times`,
        );
      result[controller] = sub;
    }
  }
  return result;
}
