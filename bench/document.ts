/** Replaces what stands under a heading, up to the next one of its level, or adds both at the end. */
export function withSection(document: string, heading: string, text: string): string {
  const lines = document.split('\n');
  const level = /^#+/.exec(heading)?.[0] ?? '#';
  const from = lines.indexOf(heading);
  const section = `${heading}\n\n${text.trim()}\n`;
  if (from < 0) return `${document.trimEnd()}\n\n${section}`;
  const after = lines.findIndex((line, i) => i > from && line.startsWith(`${level} `));
  const before = lines.slice(0, from).join('\n');
  const rest = after < 0 ? '' : `\n${lines.slice(after).join('\n')}`;
  return `${before}${before === '' ? '' : '\n'}${section}${rest}`;
}
