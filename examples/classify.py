"""Classify a picture with an exported model, without selfsort: python classify.py model.onnx picture.jpg."""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession(sys.argv[1])
facts = {name: json.loads(text) for name, text in session.get_modelmeta().custom_metadata_map.items()}
_, height, width, channels = session.get_inputs()[0].shape
picture = ImageOps.exif_transpose(Image.open(sys.argv[2])).convert("L" if channels == 1 else "RGB")
fit = {"crop": ImageOps.fit, "pad": ImageOps.pad, "squash": Image.Image.resize}[facts["resize"]]
pixels = np.asarray(fit(picture, (width, height), Image.Resampling.BICUBIC), np.uint8)
_, label, confidence = session.run(None, {"pictures": pixels.reshape(1, height, width, channels)})
print(facts["names"][label[0]] if label[0] >= 0 else "unsure", f"{confidence[0]:.4f}", sep="\t")
