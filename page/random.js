/**
 * Random numbers that a seed decides, the same in every browser.
 *
 * `Math.random` takes no seed. The uniform numbers are those of mulberry32 (Tommy Ettinger, public
 * domain), a counter of 32 bits whose values are stirred; Box and Muller (1958) turn two of them
 * into two normal ones. They are not PyTorch's numbers: seed 0 here is not seed 0 in the notebooks.
 */

/** Return a function that draws uniform numbers from [0, 1). */
export function uniform(seed) {
  let counter = seed >>> 0;
  return () => {
    counter = (counter + 0x6d2b79f5) >>> 0;
    let bits = Math.imul(counter ^ (counter >>> 15), counter | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Return `count` numbers from N(0, 1), a Float32Array. */
export function normal(seed, count) {
  const draw = uniform(seed);
  const numbers = new Float32Array(count);
  for (let i = 0; i < count; i += 2) {
    const radius = Math.sqrt(-2 * Math.log(1 - draw())); // 1 - u is never 0
    const angle = 2 * Math.PI * draw();
    numbers[i] = radius * Math.cos(angle);
    if (i + 1 < count) numbers[i + 1] = radius * Math.sin(angle);
  }
  return numbers;
}
