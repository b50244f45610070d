"""Runs under the emulated Arm processor: a .tflite on images, and nothing else. Needs numpy and ai-edge-litert alone.

python arm_worker.py MODEL IMAGES.npy COUNT   prints, as JSON, the class that each of the first COUNT images gets
"""

import json
import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter


def main(model: str, images: str, count: str) -> None:
    interpreter = Interpreter(model_path=model, num_threads=1)
    interpreter.allocate_tensors()
    taken, given = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    classes = []
    for image in np.load(images)[: int(count)]:
        interpreter.set_tensor(taken, image)
        interpreter.invoke()
        classes.append(int(interpreter.get_tensor(given)[0].argmax()))
    print(json.dumps(classes))


if __name__ == "__main__":
    main(*sys.argv[1:])
