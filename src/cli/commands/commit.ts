import { type Command, between, command as define } from '../command.ts';
import { bool, list, string } from '../flags.ts';
import { defined } from '../options/container-config.ts';

export const command: Command = define({
  usage: '[OPTIONS] CONTAINER [REPOSITORY[:TAG]]',
  about: "Create a new image from a container's changes",
  aliases: ['container commit', 'commit'],
  arity: between(1, 2),
  flags: {
    author: string('Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")', { short: 'a' }),
    change: list('Apply Dockerfile instruction to the created image', { short: 'c' }),
    message: string('Commit message', { short: 'm' }),
    pause: bool('Pause container during commit', { short: 'p', initial: true }),
  },
  run: async ({ cli, flags, args }) => {
    const [container = '', reference] = args;
    const engine = await cli.engine();
    const id = await engine.commit(
      cli.context,
      container,
      defined<{ reference?: string; author?: string; message?: string; changes?: readonly string[]; pause?: boolean }>({
        reference,
        author: flags.author || undefined,
        message: flags.message || undefined,
        changes: flags.change.length === 0 ? undefined : flags.change,
        pause: flags.pause,
      }),
    );
    cli.stdout.line(id);
    return 0;
  },
});
