/** Images on canvases. Ink is black and as opaque as it is probable; the paper is the style sheet's. */

// What the model cannot see: red, green, blue and opacity. As light as it is dark, so that the style
// sheet's filter for the dark leaves it what it is.
const HIDDEN = [205, 110, 20, 255];

/** Return a canvas of side x side pixels. */
export function canvas(side) {
  return Object.assign(document.createElement("canvas"), { width: side, height: side });
}

/** Draw an image, and over it what a mask hides. */
export function paint(target, image, mask = null) {
  const picture = new ImageData(target.width, target.height);
  for (let pixel = 0; pixel < image.length; pixel++) {
    if (mask && !mask[pixel]) picture.data.set(HIDDEN, 4 * pixel);
    else picture.data[4 * pixel + 3] = Math.round(255 * image[pixel]);
  }
  // Pixels are all that is ever put there: the canvas may stay in the processor's own memory.
  target.getContext("2d", { willReadFrequently: true }).putImageData(picture, 0, 0);
}

/** Return the mean of some images, and their standard deviation, doubled: at most 1. */
export function meanAndSpread(images) {
  const mean = images[0].map((_, pixel) => average(images.map((image) => image[pixel])));
  const spread = mean.map(
    (middle, pixel) => 2 * Math.sqrt(average(images.map((image) => (image[pixel] - middle) ** 2))),
  );
  return [mean, spread];
}

function average(numbers) {
  return numbers.reduce((sum, number) => sum + number, 0) / numbers.length;
}
