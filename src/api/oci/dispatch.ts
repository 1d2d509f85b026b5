/** From a call to the command it names, and from how that ends to an exit code. */
import { KeelsonError } from '../../ground/errors.ts';
import type { Call } from './call.ts';
import { checkpoint } from './commands/checkpoint.ts';
import { create } from './commands/create.ts';
import { deleteCommand } from './commands/delete.ts';
import { events } from './commands/events.ts';
import { exec } from './commands/exec.ts';
import { features } from './commands/features.ts';
import { kill } from './commands/kill.ts';
import { list } from './commands/list.ts';
import { mounts } from './commands/mounts.ts';
import { pause } from './commands/pause.ts';
import { ps } from './commands/ps.ts';
import { restore } from './commands/restore.ts';
import { resume } from './commands/resume.ts';
import { run } from './commands/run.ts';
import { spec } from './commands/spec.ts';
import { start } from './commands/start.ts';
import { state } from './commands/state.ts';
import { update } from './commands/update.ts';
import { parseFlags } from './flags.ts';
import { errorText, execLine, globalFlags, openSession, type Command } from './session.ts';
import { commandHelp, helpText, programName, versionText, wordCountError } from './texts.ts';

const commands: Readonly<Record<string, Command>> = {
  checkpoint,
  create,
  delete: deleteCommand,
  events,
  exec,
  features,
  kill,
  list,
  mounts,
  pause,
  ps,
  restore,
  resume,
  run,
  spec,
  start,
  state,
  update,
};

/** Resolves with the command's name. */
export async function dispatch(call: Call): Promise<string | undefined> {
  const caller = await call.caller;
  let code = 1;
  const program = programName(caller.argv);
  let name: string | undefined;
  let begun = false;
  let session: ReturnType<typeof openSession> | undefined;
  try {
    const globals = parseFlags(caller.argv.slice(1), globalFlags, { first: true });
    session = openSession(call, caller, globals);
    name = globals.words[0];
    if (globals.bool('version')) {
      call.stdout(versionText(program));
      call.end(0);
      return name;
    }
    if (name === undefined || name === 'help' || globals.bool('help')) {
      call.stdout(helpText(program, Object.keys(commands), globalFlags));
      call.end(0);
      return name;
    }
    const command = commands[name];
    if (!command) throw new KeelsonError('invalid-argument', `No help topic for '${name}'`);
    const flags = { ...command.flags, help: { kind: 'bool', short: ['h'] } as const };
    const words = command.anyFlags ? [] : globals.words.slice(1);
    const args = parseFlags(words, flags, command.first ? { first: true } : {});
    if (args.bool('help')) {
      call.stdout(commandHelp(program, name, flags));
      call.end(0);
      return name;
    }
    const mistake = command.anyFlags ? undefined : wordCountError(program, name, args.words.length);
    if (mistake !== undefined) {
      call.stdout(`Incorrect Usage.\n\n${commandHelp(program, name, flags)}`);
      throw new KeelsonError('invalid-argument', mistake);
    }
    begun = true;
    session.log('debug', `${name} ${globals.words.slice(1).join(' ')}`);
    code = await command.run(session, args);
  } catch (error) {
    code = name === 'exec' ? 255 : 1;
    const line = execLine(error);
    if (line !== undefined) call.stderr(`${line}\n`);
    if (line !== undefined && session?.globals.text('log') === undefined) {
      // That is all.
    } else if (session) session.log('error', `${begun ? prefix(program, name) : ''}${errorText(error)}`);
    else call.stderr(`${errorText(error)}\n`);
  }
  call.end(code);
  return name;
}

/** What runc says before the error. */
function prefix(program: string, command: string | undefined): string {
  if (command === 'exec') return 'exec failed: ';
  return command === 'create' || command === 'run' ? `${program} ${command} failed: ` : '';
}
