/**
 * What the model may see of an image: a hole, then strokes over it, in order.
 *
 * The same rules as `cvae_utils/masks.py` and `page` in `cvae_utils/widgets/pictures.py`; the tests
 * hold the two against each other. An image is a Float32Array of rows, 1 is ink; a mask is one too,
 * 1 where a pixel is visible.
 */

export const TOOLS = ["ink", "paper", "hide"];

/** Return a mask that hides a square, cut off at the image's edge. */
export function hole(side, { top, left, size }) {
  const mask = new Float32Array(side * side).fill(1);
  for (let row = top; row < Math.min(top + size, side); row++) {
    mask.fill(0, row * side + left, row * side + Math.min(left + size, side));
  }
  return mask;
}

/**
 * One stroke of a tool: points joined by straight lines.
 *
 * It keeps each pixel's distance from it, so that a further point costs one line, not all of them.
 */
export class Stroke {
  constructor(side, tool, row, column) {
    this.side = side;
    this.tool = tool;
    this.points = [[row, column]];
    this.distance = new Float32Array(side * side).fill(Infinity);
    this.#measure([row, column], [row, column]);
  }

  /** Lead the stroke on to a point. */
  extend(row, column) {
    this.#measure(this.points.at(-1), [row, column]);
    this.points.push([row, column]);
  }

  #measure([row, column], [toRow, toColumn]) {
    const down = toRow - row;
    const right = toColumn - column;
    const length = Math.max(down * down + right * right, 1e-12);
    for (let pixel = 0; pixel < this.distance.length; pixel++) {
      const y = Math.floor(pixel / this.side) - row;
      const x = (pixel % this.side) - column;
      // How far along the line the pixel's nearest point lies: 0 at its start, 1 at its end.
      const share = Math.min(1, Math.max(0, (y * down + x * right) / length));
      const away = Math.hypot(y - share * down, x - share * right);
      if (away < this.distance[pixel]) this.distance[pixel] = away;
    }
  }
}

/** Return image and mask as they are after all strokes; the arguments stay as they are. */
export function page(image, mask, strokes, { inkRadius, brushRadius }) {
  image = image.slice();
  mask = mask.slice();
  for (const { tool, distance } of strokes) {
    for (let pixel = 0; pixel < image.length; pixel++) {
      const touched = distance[pixel] <= brushRadius;
      if (tool === "ink") {
        // One pixel of a soft edge, as the scanned digits have it; what was hidden is paper.
        const ink = Math.min(1, Math.max(0, inkRadius + 0.5 - distance[pixel]));
        image[pixel] = Math.max(mask[pixel] ? image[pixel] : 0, ink);
      } else if (tool === "paper" && touched) {
        image[pixel] = 0;
      }
      if (touched) mask[pixel] = tool === "hide" ? 0 : 1;
    }
  }
  return { image, mask };
}
