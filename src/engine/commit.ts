import type { Context } from '../ground/context.ts';
import { KeelsonError } from '../ground/errors.ts';
import type { Parts } from './parts.ts';

export interface CommitOptions {
  readonly reference?: string;
  readonly author?: string;
  readonly message?: string;
  readonly changes?: readonly string[];
  readonly pause?: boolean;
}

export async function commit(_parts: Parts, _context: Context, _id: string, _options: CommitOptions): Promise<string> {
  throw new KeelsonError('unsupported', 'not yet');
}
