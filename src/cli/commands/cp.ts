import { lstat, stat } from 'node:fs/promises';
import { posix } from 'node:path';
import type { EngineApi, PathStat } from '../../engine/types.ts';
import { KeelsonError, isKeelsonError } from '../../ground/errors.ts';
import type { Cli } from '../cli.ts';
import { type Command, command as define, exactly } from '../command.ts';
import { extract } from '../copy/extract.ts';
import { localArchive, localStat } from '../copy/local-archive.ts';
import { type CopySide, planCopy, splitContainerPath } from '../copy/plan-copy.ts';
import { bool } from '../flags.ts';
import { humanSize } from '../output/units.ts';

interface CopyOptions {
  readonly archive: boolean;
  readonly follow: boolean;
}

type ContainerPath = NonNullable<ReturnType<typeof splitContainerPath>>;

const isDirectory = ({ mode }: PathStat): boolean => (mode & 0o170000) === 0o040000;
const isSymlink = ({ mode }: PathStat): boolean => (mode & 0o170000) === 0o120000;

/** An absolute path in a container, with the end the user gave it. */
function inside(path: string): string {
  const end = /\/\.?$/.exec(path)?.[0] ?? '';
  const clean = posix.join('/', path).replace(/\/+$/, '');
  return clean + (end === '' ? '' : end) || '/';
}

/** An absolute local path, with the end the user gave it. */
function outside(path: string): string {
  const end = /(^|\/)\.$/.test(path) ? '/.' : path.endsWith('/') ? '/' : '';
  const clean = posix.resolve(path).replace(/\/+$/, '');
  return clean + end || '/';
}

export const command: Command = define({
  usage: ['[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-', '[OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH'],
  about: `Copy files/folders between a container and the local filesystem

Use '-' as the source to read a tar archive from stdin
and extract it to a directory destination in a container.
Use '-' as the destination to stream a tar archive of a
container source to stdout.`,
  aliases: ['container cp', 'cp'],
  arity: exactly(2),
  flags: {
    archive: bool('Archive mode (copy all uid/gid information)', { short: 'a' }),
    'follow-link': bool('Always follow symbol link in SRC_PATH', { short: 'L' }),
    quiet: bool(
      'Suppress progress output during copy. Progress output is automatically suppressed if no terminal is attached',
      { short: 'q' },
    ),
  },
  run: async ({ cli, flags, args }) => {
    const [from = '', to = ''] = args;
    if (from === '') throw new KeelsonError('invalid-argument', 'source can not be empty');
    if (to === '') throw new KeelsonError('invalid-argument', 'destination can not be empty');
    const [source, target] = [splitContainerPath(from), splitContainerPath(to)];
    if (source && target) throw new KeelsonError('unsupported', 'copying between containers is not supported');
    if (!source && !target) throw new KeelsonError('invalid-argument', 'must specify at least one container source');
    const options = { archive: flags.archive, follow: flags['follow-link'] };
    const engine = await cli.engine();
    let bytes: number | undefined;
    if (source) bytes = await copyOut(cli, engine, source, to, options);
    if (target) bytes = await copyIn(cli, engine, from, target, options);
    if (bytes !== undefined && cli.stderr.isTerminal && !flags.quiet)
      cli.stderr.line(`Successfully copied ${humanSize(bytes, 3)} to ${target ? to : posix.resolve(to)}`);
    return 0;
  },
});

async function copyOut(
  cli: Cli,
  engine: EngineApi,
  source: ContainerPath,
  to: string,
  { archive, follow }: CopyOptions,
): Promise<number | undefined> {
  let path = inside(source.path);
  if (follow) path = await followLink(cli, engine, source.container, path);
  if (to === '-') {
    if (cli.stdout.isTerminal)
      throw new KeelsonError('invalid-argument', 'cowardly refusing to copy to a terminal. Specify a path or redirect');
    const { tar } = await engine.copyFrom(cli.context, source.container, path);
    for await (const chunk of tar) await cli.stdout.send(chunk);
    return undefined;
  }
  const target = outside(to);
  const parent = posix.dirname(target.replace(/\/\.?$/, '') || '/');
  if (!(await stat(parent).catch(() => undefined))?.isDirectory())
    throw new KeelsonError('not-found', `invalid output path: directory ${JSON.stringify(parent)} does not exist`);
  // A link to a directory is that directory.
  const there = await stat(target).catch(() => undefined);
  const exists = there !== undefined || (await lstat(target).catch(() => undefined)) !== undefined;
  const side = { path: target, exists, isDirectory: there?.isDirectory() === true };
  const { stat: found, tar } = await engine.copyFrom(cli.context, source.container, path);
  const plan = planCopy({ path, exists: true, isDirectory: isDirectory(found) }, side);
  return extract(tar, plan, { ownership: archive });
}

async function copyIn(
  cli: Cli,
  engine: EngineApi,
  from: string,
  target: ContainerPath,
  { archive, follow }: CopyOptions,
): Promise<number | undefined> {
  const { container } = target;
  const wanted = inside(target.path);
  const side = await containerSide(cli, engine, container, wanted);
  const options = { noOverwriteDirNonDir: true, copyUidGid: archive };
  if (from === '-') {
    if (!side.isDirectory)
      throw new KeelsonError('conflict', `destination "${container}:${target.path}" must be a directory`);
    await engine.copyTo(cli.context, container, side.path, process.stdin, options);
    return undefined;
  }
  const path = outside(from);
  const plan = planCopy({ path, exists: true, ...(await localStat(path, follow)) }, side);
  let bytes = 0;
  const counted = async function* (): AsyncGenerator<Uint8Array> {
    for await (const chunk of localArchive(path, follow, plan.rename)) {
      bytes += chunk.length;
      yield chunk;
    }
  };
  await engine.copyTo(cli.context, container, plan.directory, counted(), options);
  return bytes;
}

async function statIfThere(
  cli: Cli,
  engine: EngineApi,
  container: string,
  path: string,
): Promise<PathStat | undefined> {
  try {
    return await engine.statPath(cli.context, container, path);
  } catch (error) {
    if (!isKeelsonError(error, 'not-found')) throw error;
    // Which of the two is missing? Without a container there is nothing to go on with.
    await engine.inspect(cli.context, container);
    return undefined;
  }
}

/** What a link in a container leads to, one step, as docker takes it. */
async function followLink(cli: Cli, engine: EngineApi, container: string, path: string): Promise<string> {
  const found = await statIfThere(cli, engine, container, path);
  if (found === undefined || !isSymlink(found)) return path;
  return posix.resolve(posix.dirname(path), found.linkTarget);
}

/** The destination in a container; a link is what it leads to. */
async function containerSide(cli: Cli, engine: EngineApi, container: string, path: string): Promise<CopySide> {
  const resolved = await followLink(cli, engine, container, path);
  const found = await statIfThere(cli, engine, container, resolved);
  return { path: resolved, exists: found !== undefined, isDirectory: found !== undefined && isDirectory(found) };
}
