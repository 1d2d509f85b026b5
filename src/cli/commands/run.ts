import type { EngineApi } from '../../engine/types.ts';
import { KeelsonError } from '../../ground/errors.ts';
import { CidFile } from '../cid-file.ts';
import type { Cli } from '../cli.ts';
import { type Command, atLeast, command as define } from '../command.ts';
import { createContainer } from '../create-container.ts';
import { attachedStreams, containerConfig } from '../options/container-config.ts';
import { refusedContainerFlags, runFlags } from '../options/run-flags.ts';
import { parseDetachKeys } from '../session/detach-keys.ts';
import { runSession } from '../session/session.ts';
import { forwardSignals } from '../session/signals.ts';
import { untilRemoved } from '../session/until-removed.ts';
import { checkTerminal, terminalSize } from '../session/terminal.ts';

export const command: Command = define({
  usage: '[OPTIONS] IMAGE [COMMAND] [ARG...]',
  about: 'Create and run a new container from an image',
  aliases: ['container run', 'run'],
  arity: atLeast(1),
  interspersed: false,
  flags: { ...runFlags, ...refusedContainerFlags },
  run: async ({ cli, flags, given, args }) => {
    const { detach, tty } = flags;
    if (detach && flags.attach.length > 0)
      throw new KeelsonError('invalid-argument', 'conflicting options: cannot specify both --attach and --detach');
    const config = containerConfig(flags, args, given, { detach });
    const streams = attachedStreams(flags);
    if (flags['detach-keys'] !== '') parseDetachKeys(flags['detach-keys']);
    if (!detach) checkTerminal(cli, { stdin: streams.stdin, tty });
    using cidFile = new CidFile(flags.cidfile);
    const engine = await cli.engine();
    const size = tty && !detach ? terminalSize() : undefined;
    const withSize = size ? { ...config, consoleSize: size } : config;
    const id = await createContainer(cli, engine, withSize, { quiet: flags.quiet });
    cidFile.write(id);
    if (detach) {
      // As with docker the id is there to look at even when the container did not start.
      cli.stdout.line(id);
      await start(cli, engine, id, flags.rm);
      return 0;
    }
    const attachment = await start(cli, engine, id, flags.rm, streams);
    if (attachment === undefined) throw new KeelsonError('internal', `starting ${id} gave no streams`);
    await using _ = attachment;
    const end = await runSession(cli, attachment, {
      stdin: streams.stdin,
      tty,
      detachKeys: flags['detach-keys'],
      ...(flags['sig-proxy'] && !tty && { onSignal: forwardSignals(cli, engine, id) }),
    });
    if (end === 'detached') return 0;
    if (flags.rm) await untilRemoved(cli, engine, id);
    return end.exitCode;
  },
});

/** Starts a container; one that shall be removed when it ends is removed when it can't begin, too. */
async function start(
  cli: Cli,
  engine: EngineApi,
  id: string,
  remove: boolean,
  attach?: { readonly stdin: boolean; readonly stdout: boolean; readonly stderr: boolean },
): ReturnType<EngineApi['start']> {
  try {
    return await engine.start(cli.context, id, attach && { attach });
  } catch (error) {
    // The error of the start is the one to tell.
    if (remove) await engine.remove(cli.context, id, { force: true, volumes: true }).catch(() => {});
    throw error;
  }
}
