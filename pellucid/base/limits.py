"""The limits of everything that is read from files and connections of others, in one place; SECURITY.md lists them.

The comment of each limit is its description there. What is larger is refused in one line, before it takes much time or
memory.
"""

import math
import os

from pellucid.base.errors import PellucidError
from pellucid.base.text import shown

# Environment variable with a factor for the limits on networks and on pictures, for the user's own files.
LIMITS_VARIABLE = "PELLUCID_LIMITS"
LIMITS_HINT = f"make it smaller, or raise the limits for files of your own, such as {LIMITS_VARIABLE}=10"

# Networks that a file describes. These limits are several times what the largest built-in model needs, and a U-Net on
# images of 512 x 512; see docs/decisions.md.
MAX_INPUT_MEMORY = 1 << 29  # of activations at one time, for one input
MAX_PICTURE_MEMORY = 5 << 28  # the same for a picture: two activations of 64 channels in 1920 x 1080
MAX_OUTPUT_VALUES = 1 << 30  # values in the outputs of all operations together, for one input
MAX_MULTIPLY_ADDS = 1 << 38  # for one input
BATCH_FACTOR = 3  # for a batch, relative to one input; a ResNet-50 reaches the limits with 100 images of 224 x 224
MAX_LAYER_RUNS = 4_000  # runs of layers, each of about 1 ms: each level of nested shared layers may double their number
MAX_DETECTOR_LENGTH = 1 << 20  # pixels: the largest stride, scale or side of an anchor
MAX_DETECTOR_ANCHORS = 1_000_000  # anchors for an image; YOLO v3 has 65,000 for an image of 1024 x 1024

# Weights files and runs of Pellucid
MAX_WEIGHTS_BYTES = 16 << 30  # of a weights file
MAX_WEIGHTS_HEADER_BYTES = 16 << 20  # of its header; a parsed header takes about 20 times as much memory
MAX_DESCRIBED_LEVELS = 128  # levels of a described network; each level of nested layers adds two or three
MAX_DESCRIBED_LAYERS = 10_000  # layers of a described network
MAX_DESCRIBED_VALUES = 100_000  # numbers, texts, lists and objects of a description together
MAX_DESCRIBED_AXIS = 1 << 20  # the largest size of an input's axis
MAX_RESIZED_PIXELS = 1 << 22  # pixels of the images to which a model resizes pictures
MAX_RUN_TEXT_BYTES = 1 << 28  # of a text file in a run folder, such as a log
MAX_RUN_JSON_BYTES = 16 << 20  # of a JSON file; the confusion matrix of 1,000 classes takes 7 MB
MAX_RUN_JSON_LEVELS = 32  # levels of its nested values
MAX_RUN_JSON_DIGITS = 20  # characters of a whole number: those of 64 bits
MAX_RUN_LINE_BYTES = 4 << 10  # of a file with one line, such as a name
MAX_HISTORY_BYTES = 1 << 27  # of a table of metrics; a row takes about 70 bytes
MAX_HISTORY_ROWS = 1_000_000  # 2,500 epochs of a network with 400 tensors, read in about 5 s and 500 MB
MAX_HISTORY_VALUES = 4_000_000  # values of such a table

# Recipes and other TOML files, which are checked before they are parsed
MAX_TOML_BYTES = 1 << 20  # of a file
MAX_TOML_KEYS = 10_000  # keys and headers of tables
MAX_TOML_VALUES = 20_000  # values of lists, and keys of inline tables
MAX_TOML_KEY_PARTS = 16  # parts of a dotted key, such as a.b.c
MAX_TOML_LEVELS = 32  # levels of nested lists and inline tables
MAX_TOML_WORD = 128  # characters of a number, a date or a key without quotes; Python reads numbers of 4,300 digits

# Weights of PyTorch (.pth), safetensors and Keras
MAX_PICKLE_BYTES = 16 << 20  # of the pickle of a .pth file, which describes about 40,000 tensors
MAX_PICKLE_STEPS = 500_000  # opcodes of that pickle
MAX_PICKLE_NAME_BYTES = 256  # of the name of a module or an object in it
MAX_PICKLE_INTEGER_BYTES = 16  # of a whole number in it
MAX_PICKLE_INTEGER = 1 << 40  # the largest of the whole numbers that describe tensors
MAX_TORCH_MEMBERS = 100_000  # entries of the archive
MAX_TORCH_DIRECTORY_BYTES = 8 << 20  # of the archive's directory, which needs a hundred times as much memory
MAX_TORCH_LEVELS = 4  # levels of dicts around the weights
MAX_TORCH_WEIGHT_RATIO = 2  # bytes of all tensors, which may share memory as tied weights do, relative to the file
MAX_SAFETENSORS_HEADER_BYTES = 16 << 20  # of the header of a safetensors file
MAX_SAFETENSORS_TENSORS = 50_000  # tensors of a safetensors file
MAX_KERAS_OBJECTS = 100_000  # groups and data sets of an HDF5 file
MAX_KERAS_LEVELS = 32  # levels of groups in an HDF5 file
MAX_KERAS_HEADER_BYTES = 64 << 10  # of one block of an object's header
MAX_KERAS_HEADER_BLOCKS = 64  # blocks of such a header
MAX_KERAS_TEXT_BYTES = 255  # of a single text in an HDF5 file

# Exported programs (.pt2)
MAX_PROGRAM_MEMBERS = 100_000  # entries of the archive
MAX_PROGRAM_BYTES = 32 << 20  # of the program, without the weights; Python needs up to 20 times as many
MAX_PROGRAM_VALUES = 300_000  # entries of the program; some 100 for each node
MAX_PROGRAM_NODES = 3_000  # nodes; PyTorch reads 500 a second, and a network of 12 transformer layers has 423
MAX_PROGRAM_ARGUMENTS = 1_000  # arguments of one node, such as the tensors that it concatenates
MAX_PROGRAM_INPUTS = 10_000  # inputs of the graph, weights included
MAX_PROGRAM_OUTPUTS = 1_000  # outputs of the graph
MAX_PROGRAM_WEIGHT_RATIO = 2  # bytes of all tensors, which may be views of the same values, relative to the stored ones
MAX_PROGRAM_CONSTANTS = 1 << 25  # values of the constants that a program computes together
MAX_PROGRAM_CONSTANT_WORK = 1 << 33  # multiply-adds for these
MAX_FORMULA_LENGTH = 4_000  # characters of a formula for sizes; 850 in a U-Net of six levels with free height and width
MAX_FORMULAS_LENGTH = 400_000  # characters of all formulas together, which PyTorch reads in about 7 s
MAX_DISTINCT_FORMULAS_LENGTH = 25_000  # the same for distinct ones, which take up to ten times as long
MAX_FORMULA_LEVELS = 40  # nested functions in a formula
MAX_FORMULA_POWER = 4  # the area of a square image is the second power of its side
MAX_FORMULA_BITS = 256  # bits of a size, such as the product of seven axes
MAX_FORMULA_TERMS = 64  # terms of a formula that is multiplied out; sizes are sums of a few products
MAX_FORMULA_SYMBOLS = 8  # different symbols in a formula; an image has three

# ONNX files
MAX_ONNX_BYTES = (2 << 30) - 1  # of a file: the limit of Protocol Buffers
MAX_ONNX_STRUCTURE_BYTES = 8 << 20  # of a file without the values of its initializers
MAX_ONNX_FIELDS = 200_000  # fields that are read while the values are counted; enough for about 40,000 tensors
MAX_ONNX_NODES = 10_000  # nodes
MAX_ONNX_ARGUMENTS = 20_000  # inputs of all nodes together; a DenseNet-264 that joins all maps anew has 3,400
MAX_ONNX_ENDS = 1_000  # inputs, and outputs, of a graph; onnxruntime's time grows with the square of their number
MAX_ONNX_VALUES = 1 << 28  # values of one output in the graph
MAX_ONNX_CONSTANTS = 1 << 24  # values of the constants that a file computes together
MAX_ONNX_COPIES = 256  # copies along one axis in Tile
MAX_ONNX_POOLED_PIXELS = 1 << 24  # pixels of an image for which the padding in each window is counted
MAX_ONNX_RESIZED_SIDE = 1 << 12  # rows and columns of images that are resized with matrices
MAX_ONNX_MAIN_AXIS = 1 << 13  # rows, columns and channels of an input whose description for Pellucid is checked
MAX_ONNX_SECONDS = 20  # of processor time in onnxruntime, for all batches; a U-Net on two images of 512 x 512 takes 14
MAX_ONNX_MEMORY = 2 << 30  # of address space in onnxruntime, besides six times the file

# Folders of Hugging Face
MAX_FOLDER_CONFIG_BYTES = 16 << 20  # of config.json
MAX_FOLDER_NUMBER = 1_000_000  # the largest number of classes, channels and layers in a configuration
MAX_FOLDER_MODULES = 50_000  # modules: several times the number in the largest networks, which are built twice

# Pictures and data sets
MAX_IMAGE_BYTES = 200 << 20  # of a picture's file
MAX_IMAGE_PIXELS = 64_000_000  # pixels of a picture
MAX_FULL_SIZE_PIXELS = 24_000_000  # pixels of a picture that keeps its size; with copies it needs 25 bytes per pixel
MAX_COLORIZED_PIXELS = 12_500_000  # pixels of a picture to colorize; Lab components take about 70 bytes for each pixel
MAX_ADDRESS_BYTES = 50 << 20  # of a picture from the network
MAX_DATA_BYTES = 16 << 30  # of all decoded images of a data set
MAX_IDX_BYTES = 4 << 30  # of the values in an IDX file
MAX_IDX_AXES = 8  # axes of such values
MAX_LIST_BYTES = 1 << 30  # of a list of pictures
MAX_LIST_LINE_BYTES = 4 << 10  # of a path or an address in a list
MAX_SHARD_HEADER_BYTES = 64 << 10  # of the headers in a tar archive that contain long names and times
MAX_DOCUMENT_BYTES = 1 << 30  # of a file of annotations or names; COCO's instances_train2017.json has 448 MB
MAX_DOCUMENT_RATIO = 50  # size of all such files in a zip, relative to the zip; 4 for COCO's
MAX_CLASS_LIST_BYTES = 1 << 20  # of a list of the classes of masks, which names at most 255
MAX_TABLE_BYTES = 1 << 28  # of a table of labels; a row takes about 60 bytes
MAX_TABLE_ROWS = 1_000_000  # rows of such a table
MAX_TABLE_COLUMNS = 5_000  # columns of such a table
MAX_TABLE_NAME = 500  # characters of a column's name
MAX_TABLE_CELLS = 20_000_000  # its cells, and the labels of all its pictures: rows times classes
MAX_XML_LEVELS = 50  # levels of nested elements in an XML file
MAX_YAML_BYTES = 128 << 10  # of a YAML file; reading takes about 15 seconds per MB
MAX_CLASSES = 50_000  # names of classes in a data set
MAX_KEYPOINTS = 1_000  # names of key-points in a data set
MAX_OBJECTS = 20_000  # objects in one image
MAX_MASK_MEMORY = 1 << 29  # of all masks of one image
MAX_OUTLINE_PIXELS = 2_000_000  # pixels of the polygons' outlines in a part: one image may have many objects
MAX_OUTLINE_PIXELS_PER_IMAGE = 20_000  # the same for each image of a part, in addition; COCO's have about 2,000
MAX_OUTLINE_PIXELS_PER_BYTE = 4  # the same for each byte of annotations, in addition; COCO's have 0.6
MAX_MASK_SIDES = 500_000  # sides of pixels along the outline of a mask; a disc of 8000 pixels has 32,000
MAX_SIDES = 500_000  # the same for a data set, so that a single mask of MAX_MASK_SIDES is allowed
MAX_SIDES_PER_IMAGE = 10_000  # the same for each image, in addition
MAX_SIDES_PER_BYTE = 2  # the same for each byte of annotations, in addition: long outlines are also long in the file

# `pellucid serve` and the studio
MAX_CONNECTIONS = 256  # at a time, with those of WebSockets; a browser opens six, and one for each tab of the studio
MAX_HEADER_SECONDS = 10  # from the first byte of a request to the end of its headers
MAX_REQUEST_SECONDS = 60  # from the end of the headers to the end of the body
MAX_UPLOAD_BYTES = 10_000_000  # of a picture that is sent
MAX_UPLOADS_MEMORY = 100_000_000  # of all pictures that are being sent or answered
MAX_UPLOAD_PIXELS = 12_500_000  # pixels of a picture that is sent, checked before it is decoded
MAX_MODEL_UPLOAD_BYTES = 256 << 20  # of a model's file that is dropped on the studio's page
MAX_OPENING_SECONDS = 60  # of processor time to open such a file, in a process of its own
MAX_OPENING_MEMORY = 8 << 30  # of address space of that process, besides eight times the file
MAX_MESSAGE_BYTES = 1 << 20  # of a message of the studio's page
MAX_MESSAGE_TENSORS = 8  # tensors of such a message


def scaled_limit(limit: int) -> int:
    """Return `limit` times the value of the environment variable PELLUCID_LIMITS, by default 1.

    Raises PellucidError unless the variable is a number of at least 1.
    """
    text = os.environ.get(LIMITS_VARIABLE, "1")
    try:
        factor = float(text)
    except ValueError:
        factor = 0.0
    if not 1 <= factor < math.inf:
        raise PellucidError(f"{LIMITS_VARIABLE} must be a number of at least 1, not {shown(text)}; change or unset it")
    return int(limit * factor)
