import type { Arity } from './command.ts';

const arguments_ = (n: number): string => `${n} argument${n === 1 ? '' : 's'}`;

/** What is wrong with `count` arguments, in docker's words; undefined when nothing is. */
export function arityError(name: string, { min, max }: Arity, count: number): string | undefined {
  if (count >= min && count <= max) return undefined;
  if (max === 0) return `'${name}' accepts no arguments`;
  if (min === max) return `'${name}' requires ${arguments_(min)}`;
  if (max === Infinity) return `'${name}' requires at least ${arguments_(min)}`;
  if (min === 0) return `'${name}' requires at most ${arguments_(max)}`;
  return `'${name}' requires at least ${min} and at most ${arguments_(max)}`;
}
