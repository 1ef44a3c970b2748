"""Why a photo was rejected, and what to do: for programs a code, for people a sentence."""

from typing import Literal

from spacy_tcm.errors import Errors, TCMError

_EXPLANATIONS: dict[str, tuple[str, str]] = {
    "wrong_kind": (Errors.E201, "照片须以路径、图像文件的字节或像素数组给出，请联系管理员。"),
    "wrong_array": (Errors.E202, "像素数组须为 8 位 RGB，请联系管理员。"),
    "missing_file": (Errors.E203, "找不到照片文件，请核对路径。"),
    "not_a_file": (Errors.E204, "所给路径不是文件，请指定一张照片。"),
    "no_permission": (Errors.E205, "没有读取照片的权限，请修改文件权限。"),
    "unreadable": (Errors.E206, "磁盘读取失败，请把照片复制到本机再试。"),
    "empty_file": (Errors.E207, "照片文件是空的，请重新导出。"),
    "too_large": (Errors.E208, "照片过大（超过 6400 万像素或 64 MiB），请缩小后再试。"),
    "wrong_type": (Errors.E209, "不支持的图像格式，请另存为 JPEG。"),
    "damaged": (Errors.E210, "照片文件已损坏或不完整，请重新导出。"),
    "several_frames": (Errors.E211, "这是动图或多页文件，请另存为单张照片。"),
    "not_rgb": (Errors.E212, "颜色模式不是 RGB，请另存为 8 位 sRGB 照片。"),
    "sixteen_bit": (Errors.E213, "照片为 16 位颜色，请另存为 8 位 sRGB 照片。"),
    "grayscale": (Errors.E214, "照片没有颜色，舌诊需要彩色照片。"),
    "too_small": (Errors.E215, "照片边长不足 32 像素，请使用原图。"),
    "too_narrow": (Errors.E216, "照片过于狭长，请使用原图。"),
    "blank": (Errors.E217, "照片一片均匀，没有内容，请重拍。"),
    "too_dark": (Errors.E218, "照片几乎全黑，请增加光线后重拍。"),
    "too_bright": (Errors.E219, "照片几乎全白，请减弱光线后重拍。"),
    "no_tongue": (Errors.E241, "照片中没有找到舌头，请伸舌正对镜头重拍。"),
    "tongue_too_small": (Errors.E242, "舌头在照片中太小，请靠近一些重拍。"),
    "several_tongues": (Errors.E243, "照片中不止一个舌头，请只拍一人。"),
    "cut_off": (Errors.E244, "舌头没有拍全，请让整个舌头进入画面后重拍。"),
    "blurred": (Errors.E245, "舌面模糊，请对焦并持稳后重拍。"),
    "tongue_too_dark": (Errors.E246, "舌面太暗，请增加光线后重拍。"),
    "tongue_too_bright": (Errors.E247, "舌面太亮，请避开强光后重拍。"),
    "clipped": (Errors.E248, "舌面反光或过曝的部分太多，请避开闪光灯后重拍。"),
    "colour_cast": (Errors.E249, "照片偏色严重，请在自然光或白光下重拍。"),
}
REASONS = tuple(_EXPLANATIONS)


def explain(reason: str, language: Literal["en", "zh"] = "en") -> str:
    """The cause and the remedy behind a reason code, as a sentence; the English one begins with
    its number. RAISES TCMError: there is no such code."""
    if reason not in _EXPLANATIONS:
        raise TCMError(Errors.E220.format(reason=reason, known=", ".join(REASONS)))
    return _EXPLANATIONS[reason][language == "zh"]
