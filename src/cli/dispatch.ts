import { writeFileSync } from 'node:fs';
import type { Span } from '../ground/trace.ts';
import { arityError } from './arity.ts';
import { Cli } from './cli.ts';
import { isKeelsonError } from '../ground/errors.ts';
import { Exit, printError, runExitCode } from './failure.ts';
import { FlagError, type ParsedFlags, bool, parseFlags, string } from './flags.ts';
import { ReaderGone } from './output.ts';
import { type Entry, findEntry, root } from './program.ts';
import { commandHelp, groupHelp, programName, rootHelp, usageHint } from './usage.ts';

const globals = {
  root: string('Where images, containers and volumes are kept ($KEELSON_ROOT)', { type: 'directory' }),
  run: string('Where the state of what runs is kept ($KEELSON_RUN)', { type: 'directory' }),
  timing: bool('Print how long each layer took'),
  'trace-file': string('Write the spans of all layers to a file that a trace viewer opens', { type: 'file' }),
  debug: bool('Print the causes and stacks of errors', { short: 'D' }),
  'log-level': string('Set the logging level ("debug", "info", "warn", "error", "fatal")', {
    short: 'l',
    initial: 'info',
  }),
  version: bool('Print version information and quit', { short: 'v' }),
} as const;

const rootUsage = ['[OPTIONS] COMMAND [ARG...]'];

/** Finds the command that `words` name, runs it, and returns its exit code. Never throws. */
export async function dispatch(words: readonly string[]): Promise<number> {
  const streams = new Cli({ timing: false, traceFile: '', debug: false });
  try {
    return await dispatchGlobal(words, streams);
  } catch (error) {
    if (error instanceof Exit) return error.code;
    if (error instanceof ReaderGone) return 141;
    try {
      printError(streams, error);
    } catch {
      // Standard error is gone as well: the exit code has to say it all.
    }
    return 1;
  }
}

async function dispatchGlobal(words: readonly string[], streams: Cli): Promise<number> {
  let parsed: ParsedFlags<typeof globals>;
  try {
    parsed = parseFlags(globals, words, { interspersed: false });
    if (!['debug', 'info', 'warn', 'error', 'fatal'].includes(parsed.flags['log-level']))
      throw new FlagError(`unable to parse logging level: ${parsed.flags['log-level']}`);
  } catch (error) {
    return usageFailure(streams, error, '', rootUsage);
  }
  const { flags } = parsed;
  let path = [...parsed.args];
  if (flags.version) {
    path = ['version', '--short'];
  } else if (parsed.help || path.length === 0) {
    streams.stdout.write(rootHelp(globals));
    return 0;
  } else if (path[0] === 'help') {
    return help(streams, path.slice(1));
  }
  const cli = new Cli({
    ...(flags.root !== '' && { root: flags.root }),
    ...(flags.run !== '' && { run: flags.run }),
    timing: flags.timing,
    traceFile: flags['trace-file'],
    debug: flags.debug || flags['log-level'] === 'debug',
  });
  return dispatchCommand(cli, root, '', path);
}

function help(cli: Cli, words: readonly string[]): Promise<number> | number {
  let group: Entry | undefined = root;
  for (const word of words) group = group && findEntry(group, word);
  if (group === undefined) {
    cli.stderr.line(`unknown help topic: ${words.join(' ')}`);
    return 1;
  }
  if (group === root) {
    cli.stdout.write(rootHelp(globals));
    return 0;
  }
  return dispatchCommand(cli, root, '', [...words, '--help']);
}

/** Walks down the groups; `path` is what was walked so far. */
async function dispatchCommand(cli: Cli, group: Entry, path: string, words: readonly string[]): Promise<number> {
  const [word, ...rest] = words;
  if (word === undefined) {
    cli.stderr.write(groupHelp(path, group));
    return 0;
  }
  if (path !== '' && (word === '--help' || word === '-h' || word === 'help')) {
    cli.stdout.write(groupHelp(path, group));
    return 0;
  }
  if (path !== '' && word.startsWith('-'))
    return usageFailure(cli, new FlagError(`unknown flag: ${word}`), path, ['COMMAND']);
  const found = findEntry(group, word);
  const name = path === '' ? word : `${path} ${word}`;
  if (found === undefined) {
    cli.stderr.line(
      `${programName}: unknown command: ${programName} ${name}\n\n${
        path === '' ? '' : `Usage:  ${programName} ${path}\n\n`
      }Run '${programName}${path === '' ? '' : ` ${path}`} --help' for more information`,
    );
    return 1;
  }
  if (found.load === undefined) return dispatchCommand(cli, found, name, rest);
  const { command } = await found.load();
  let parsed: ReturnType<typeof command.parse>;
  try {
    parsed = command.parse(rest);
  } catch (error) {
    return usageFailure(cli, error, name, command.usage);
  }
  if (parsed.help) {
    cli.stdout.write(commandHelp(name, command));
    return 0;
  }
  const wrongArity = arityError(`${programName} ${name}`, command.arity, parsed.args.length);
  if (wrongArity !== undefined) {
    const see = command.arity.max === Infinity ? 'See' : 'Run';
    cli.stderr.line(`${programName}: ${wrongArity}\n\n${usageHint(name, command.usage, see)}`);
    return 1;
  }
  return runCommand(cli, name, command.usage, () => command.run(cli, name, parsed));
}

/** Runs a command's body; whatever it throws becomes a message and an exit code. */
async function runCommand(
  cli: Cli,
  path: string,
  usage: readonly string[],
  work: () => Promise<number>,
): Promise<number> {
  cli.catchSignals();
  let code: number;
  try {
    code = await cli.context.span(path, work);
  } catch (error) {
    code = error instanceof FlagError ? usageFailure(cli, error, path, usage) : failureCode(cli, path, error);
  }
  try {
    await cli.close();
    await writeTrace(cli);
  } catch (error) {
    code = code || failureCode(cli, path, error);
  }
  return code;
}

/** What `--timing` and `--trace-file` ask for. */
async function writeTrace(cli: Cli): Promise<void> {
  const { timing, traceFile } = cli.options;
  if (!timing && traceFile === '') return;
  const nodeStart = cli.trace.spans[0]?.start;
  if (nodeStart !== undefined) cli.trace.spans.push(startSpan(cli.trace.spans.length, nodeStart));
  if (timing) {
    const { timingText } = await import('./output/timing.ts');
    cli.stderr.write(timingText(cli.trace.spans));
  }
  if (traceFile !== '') writeFileSync(traceFile, JSON.stringify({ traceEvents: cli.trace.toTraceEvents() }));
}

/** From the start of the process to the first span: Node itself, and reading our code. */
function startSpan(id: number, end: bigint): Span {
  const age = process.hrtime.bigint() - end;
  const sinceStart = BigInt(Math.round(performance.now() * 1e6));
  return { id, parent: undefined, name: 'start Node and the command line', start: end - (sinceStart - age), end };
}

function failureCode(cli: Cli, path: string, error: unknown): number {
  if (error instanceof Exit) return error.code;
  if (error instanceof ReaderGone) return 141;
  const { interrupted } = cli;
  if (interrupted !== undefined) return interrupted === 'SIGINT' ? 130 : 143;
  printError(cli, error);
  if (path !== 'run' && path !== 'container run') return 1;
  if (isKeelsonError(error, 'invalid-argument'))
    cli.stderr.line(`\nRun '${programName} ${path} --help' for more information`);
  return runExitCode(error);
}

function usageFailure(cli: Cli, error: unknown, path: string, usage: readonly string[]): number {
  if (!(error instanceof FlagError)) throw error;
  cli.stderr.line(`${error.message}\n\n${usageHint(path, usage)}`);
  return 125;
}
