import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { renderTemplate } from './template.ts';
import { nilMap, nilSlice } from '../../api/docker/nil.ts';
import { Float, View } from './values.ts';

/** What Go 1.27's text/template makes of each of many templates, with the data below as Go values. */
const golden = JSON.parse(readFileSync(new URL('testdata/go-templates.json', import.meta.url), 'utf8')) as {
  template: string;
  output: string;
  error?: string;
}[];

const sub = (City: string, Zip: number, Deep: object | null = null): object => ({ City, Zip, Deep });

const data = new View(
  '*main.T',
  Object.fromEntries(
    Object.entries({
      Name: 'web',
      Empty: '',
      N: 42,
      Zero: 0,
      Neg: -7,
      Big: 1795327939401117758n,
      F: new Float(3.25),
      Half: new Float(0.5),
      B: true,
      No: false,
      L: ['a', 'b', 'c'],
      Ints: [3, 1, 2],
      None: nilSlice,
      M: new Map([
        ['z', '26'],
        ['a', '1'],
        ['k.x', 'dot'],
      ]),
      Counts: new Map([
        ['one', 1],
        ['two', 2],
      ]),
      Any: new Map<string, unknown>([
        ['s', 'str'],
        ['n', null],
        ['i', 5],
        ['f', new Float(1.5)],
        ['m', new Map([['x', 'y']])],
        ['l', [1, 'two', null]],
      ]),
      NilM: nilMap,
      S: sub('Rome', 100),
      P: sub('Oslo', 200, sub('Deep', 1)),
      NilP: null,
      Subs: [sub('A', 1), sub('B', 2)],
      Html: `<a href="x">'&'</a>`,
      Uni: 'héllo ☃ 𝄞\n',
    }).map(([name, value]) => [name, () => value]),
  ),
  { Label: (name) => `label-${name}`, Hello: () => 'hello' },
);

/** Struct types have no names here. */
function withoutTypes(error: string): string {
  return error
    .replaceAll('nil pointer evaluating *main.Sub', 'nil pointer evaluating interface {}')
    .replaceAll(/\*?main\.Sub/g, 'struct');
}

for (const { template, output, error } of golden) {
  test(`template ${JSON.stringify(template)}`, () => {
    let got: { output?: string; error?: string };
    try {
      got = { output: renderTemplate(template, data) };
    } catch (thrown) {
      got = { error: (thrown as Error).message };
    }
    assert.deepEqual(got, error === undefined ? { output } : { error: withoutTypes(error) });
  });
}
