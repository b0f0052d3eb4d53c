from ._files import ReaderError
from .cion_al import read_cion_al
from .cuhk01 import read_cuhk01
from .folder import read_folder
from .g2a_vreid import read_g2a_vreid
from .ilids_vid import read_ilids_vid
from .image_video import read_image_video
from .lmdb import read_lmdb
from .ls_vid import read_ls_vid
from .ltcc import read_ltcc
from .luperson import read_luperson
from .luperson_nl import read_luperson_nl
from .manifest_file import read_manifest_file
from .market1501 import read_market1501
from .mars import read_mars
from .msmt17 import read_msmt17
from .people import read_people
from .pku_reid import read_pku_reid
from .prcc import read_prcc
from .prid2011 import read_prid2011
from .sources import find_reader, is_manifest_file, list_options, read
from .synth_pedes import read_synth_pedes
from .table import COUNTS, READERS, WITHDRAWN, Reader
from .viper import read_viper

__all__ = [
    "COUNTS",
    "READERS",
    "Reader",
    "ReaderError",
    "WITHDRAWN",
    "find_reader",
    "is_manifest_file",
    "list_options",
    "read",
    "read_cion_al",
    "read_cuhk01",
    "read_folder",
    "read_g2a_vreid",
    "read_ilids_vid",
    "read_image_video",
    "read_lmdb",
    "read_ls_vid",
    "read_ltcc",
    "read_luperson",
    "read_luperson_nl",
    "read_manifest_file",
    "read_market1501",
    "read_mars",
    "read_msmt17",
    "read_people",
    "read_pku_reid",
    "read_prcc",
    "read_prid2011",
    "read_synth_pedes",
    "read_viper",
]
