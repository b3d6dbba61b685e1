// The node's words are parts of sentences ("it is stopped"); shown alone they begin with a capital and end with a point.
export function sentence(words: string): string {
  const trimmed = words.trim();
  const [head = '', ...rest] = trimmed;
  const whole = head.toUpperCase() + rest.join('');
  return /[.!?…]$/.test(whole) || whole === '' ? whole : `${whole}.`;
}
