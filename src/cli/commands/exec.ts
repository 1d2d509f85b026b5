import type { ExecConfig } from '../../engine/types.ts';
import { isKeelsonError } from '../../ground/errors.ts';
import { type Command, atLeast, command as define } from '../command.ts';
import { printError, runExitCode } from '../failure.ts';
import { bool, list, string } from '../flags.ts';
import { defined } from '../options/container-config.ts';
import { checkEnv, readEnvironment } from '../options/key-values.ts';
import { parseDetachKeys } from '../session/detach-keys.ts';
import { runSession } from '../session/session.ts';
import { checkTerminal, terminalSize } from '../session/terminal.ts';

export const command: Command = define({
  usage: '[OPTIONS] CONTAINER COMMAND [ARG...]',
  about: 'Execute a command in a running container',
  aliases: ['container exec', 'exec'],
  arity: atLeast(2),
  interspersed: false,
  flags: {
    detach: bool('Detached mode: run command in the background', { short: 'd' }),
    'detach-keys': string('Override the key sequence for detaching a container'),
    env: list('Set environment variables', { short: 'e', check: checkEnv }),
    'env-file': list('Read in a file of environment variables'),
    interactive: bool('Keep STDIN open even if not attached', { short: 'i' }),
    privileged: bool('Give extended privileges to the command'),
    tty: bool('Allocate a pseudo-TTY', { short: 't' }),
    user: string('Username or UID (format: "<name|uid>[:<group|gid>]")', { short: 'u' }),
    workdir: string('Working directory inside the container', { short: 'w' }),
  },
  run: async ({ cli, flags, args }) => {
    const { detach, tty, interactive: stdin } = flags;
    const [container = '', ...argv] = args;
    const env = readEnvironment(flags['env-file'], flags.env);
    if (flags['detach-keys'] !== '') parseDetachKeys(flags['detach-keys']);
    if (!detach) checkTerminal(cli, { stdin, tty });
    const engine = await cli.engine();
    const config = defined<ExecConfig>({
      command: argv,
      env: env.length === 0 ? undefined : env,
      user: flags.user || undefined,
      workingDir: flags.workdir || undefined,
      tty: tty || undefined,
      consoleSize: tty && !detach ? terminalSize() : undefined,
      stdin: (stdin && !detach) || undefined,
      privileged: flags.privileged || undefined,
      detach: detach || undefined,
    });
    try {
      const attachment = await engine.exec(cli.context, container, config);
      await using _ = attachment;
      if (detach) return 0;
      const end = await runSession(cli, attachment, { stdin, tty, detachKeys: flags['detach-keys'] });
      if (end !== 'detached') return end.exitCode;
      cli.stderr.line('read escape sequence');
      return 1;
    } catch (error) {
      if (!isKeelsonError(error, 'command-not-found') && !isKeelsonError(error, 'command-not-executable')) throw error;
      printError(cli, error);
      return runExitCode(error);
    }
  },
});
