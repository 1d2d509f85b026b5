import type { ContainerStatus } from '../../engine/types.ts';
import { humanDuration } from './time.ts';

/** The STATUS column: `Up 3 seconds`, `Up 2 hours (Paused)`, `Exited (137) 5 minutes ago`, `Created`. */
export function containerStatusText(status: ContainerStatus, now: number = Date.now()): string {
  const ago = humanDuration(now - status.finishedAt);
  switch (status.state) {
    case 'running':
      return `Up ${humanDuration(now - status.startedAt)}`;
    case 'paused':
      return `Up ${humanDuration(now - status.startedAt)} (Paused)`;
    case 'restarting':
      return `Restarting (${status.exitCode}) ${ago} ago`;
    case 'removing':
      return 'Removal In Progress';
    case 'dead':
      return 'Dead';
    case 'created':
      return 'Created';
    default:
      return `Exited (${status.exitCode}) ${ago} ago`;
  }
}
