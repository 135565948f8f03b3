import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';

/** The checkout. */
export const root = path.join(import.meta.dirname, '..', '..');

export interface Page {
  /** From the checkout, with `/`. */
  readonly name: string;
  readonly text: string;
}

/** What people read: the pages at the top and everything under docs/. */
export const pages: readonly Page[] = [
  ...readdirSync(root).filter((name) => name.endsWith('.md')),
  ...readdirSync(path.join(root, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name.split(path.sep).join('/')}`),
].map((name) => ({ name, text: readFileSync(path.join(root, name), 'utf8') }));

export function page(name: string): string {
  const found = pages.find((candidate) => candidate.name === name);
  if (found === undefined) throw new Error(`there is no ${name}`);
  return found.text;
}

/** Fenced blocks with the language that stands after the fence, or ''. */
export function blocks(text: string): readonly { readonly language: string; readonly code: string }[] {
  return [...text.matchAll(/^```(\w*)\n([\s\S]*?)^```$/gm)].map((match) => ({
    language: match[1] as string,
    code: match[2] as string,
  }));
}

/** Rows of all tables whose first cell is code, as trimmed cells. */
export function codeRows(text: string): readonly (readonly string[])[] {
  return text
    .split('\n')
    .filter((line) => line.startsWith('| `'))
    .map((line) =>
      line
        .slice(1, -1)
        .split(/(?<!\\)\|/)
        .map((cell) => cell.trim().replaceAll('\\|', '|')),
    );
}

/** What stands in backticks. */
export function codeWords(text: string): readonly string[] {
  return [...text.matchAll(/`([^`]+)`/g)].map((match) => match[1] as string);
}
