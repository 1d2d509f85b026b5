import type { Resources, RestartPolicy } from '../../engine/types.ts';
import { KeelsonError } from '../../ground/errors.ts';
import { type Command, atLeast, command as define } from '../command.ts';
import { forEachName } from '../failure.ts';
import { string } from '../flags.ts';
import { resourcesOf } from '../options/container-config.ts';
import { parseRestart } from '../options/limits.ts';
import { refusedResourceFlags, resourceFlags } from '../options/run-flags.ts';

export const command: Command = define({
  usage: '[OPTIONS] CONTAINER [CONTAINER...]',
  about: 'Update configuration of one or more containers',
  aliases: ['container update', 'update'],
  arity: atLeast(1),
  flags: {
    ...resourceFlags,
    ...refusedResourceFlags,
    restart: string('Restart policy to apply when a container exits'),
  },
  run: async ({ cli, flags, given, args }) => {
    if (given.size === 0)
      throw new KeelsonError('invalid-argument', 'you must provide one or more flags when using this command');
    const resources = resourcesOf(flags);
    const change: { resources?: Resources; restart?: RestartPolicy } = {
      ...(Object.keys(resources).length > 0 && { resources }),
      ...(flags.restart !== '' && { restart: parseRestart(flags.restart) }),
    };
    const engine = await cli.engine();
    return forEachName(cli, args, async (name) => {
      for (const warning of await engine.update(cli.context, name, change)) cli.stderr.line(`WARNING: ${warning}`);
      return name;
    });
  },
});
