/** From a call to the command it names, and from how that ends to an exit code. */
import { KeelsonError } from '../../ground/errors.ts';
import type { Call } from './call.ts';
import { create } from './commands/create.ts';
import { deleteCommand } from './commands/delete.ts';
import { exec } from './commands/exec.ts';
import { features } from './commands/features.ts';
import { kill } from './commands/kill.ts';
import { list } from './commands/list.ts';
import { run } from './commands/run.ts';
import { start } from './commands/start.ts';
import { state } from './commands/state.ts';
import { parseFlags } from './flags.ts';
import { errorText, globalFlags, openSession, type Command } from './session.ts';
import { usageText, versionText } from './texts.ts';

const commands: Readonly<Record<string, Command>> = {
  create,
  delete: deleteCommand,
  exec,
  features,
  kill,
  list,
  run,
  start,
  state,
};

export async function dispatch(call: Call): Promise<void> {
  const caller = await call.caller;
  let code = 1;
  let name: string | undefined;
  let session: ReturnType<typeof openSession> | undefined;
  try {
    const globals = parseFlags(caller.argv.slice(1), globalFlags, { first: true });
    session = openSession(call, caller, globals);
    name = globals.words[0];
    if (globals.bool('version')) {
      call.stdout(versionText());
      return call.end(0);
    }
    if (name === undefined || name === 'help' || globals.bool('help')) {
      call.stdout(usageText(Object.keys(commands)));
      return call.end(0);
    }
    const command = commands[name];
    if (!command) throw new KeelsonError('invalid-argument', `No help topic for '${name}'`);
    const flags = { ...command.flags, help: { kind: 'bool', short: ['h'] } as const };
    const args = parseFlags(globals.words.slice(1), flags, command.first ? { first: true } : {});
    if (args.bool('help')) {
      call.stdout(usageText([name]));
      return call.end(0);
    }
    code = await command.run(session, args);
  } catch (error) {
    code = name === 'exec' ? 255 : 1;
    if (session) session.log('error', errorText(error));
    else call.stderr(`${errorText(error)}\n`);
  }
  call.end(code);
}
