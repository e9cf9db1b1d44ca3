"""Which formats, modes and depths are tried."""

from __future__ import annotations

from hostile.formats import (
    Format,
    animated,
    avif,
    by_pillow,
    cmyk,
    deep_png,
    jpeg,
    jpeg2000,
    pfm,
    pnm,
    tiff,
    webp,
)

PNG = [
    *(
        Format(f"png-{mode}", ".png", by_pillow("PNG", mode), loud=True)
        for mode in ("L", "LA", "RGB", "RGBA", "P", "1")
    ),
    Format("png-P-alpha", ".png", by_pillow("PNG", "P+alpha"), loud=True),
    Format("png-P-2-bits", ".png", by_pillow("PNG", "P", bits=4), loud=True),
    *(Format(f"png-{channels}x16", ".png", deep_png(channels), loud=True) for channels in (1, 2, 3, 4)),
    Format("apng", ".png", animated("PNG"), loud=True),
    Format("apng-suffix", ".apng", animated("PNG"), loud=True),
]
JPEG = [
    Format("jpg-L", ".jpg", jpeg(1)),
    Format("jpg-444", ".jpg", jpeg(3, quality=95, subsampling=0)),
    Format("jpg-420", ".jpeg", jpeg(3, quality=90, subsampling=2)),
    Format("jpg-progressive", ".jpe", jpeg(3, quality=90, progressive=True)),
    Format("jfif", ".jfif", jpeg(3, quality=90)),
    Format("jpg-restart", ".jpg", jpeg(3, quality=90, restart_marker_blocks=1)),
    Format("jpg-cmyk", ".jpg", cmyk),
    Format("mpo", ".mpo", jpeg(3, quality=95)),
]
PILLOW = [
    *(Format(f"bmp-{mode}", ".bmp", by_pillow("BMP", mode)) for mode in ("L", "RGB", "P", "1")),
    Format("dib", ".dib", by_pillow("DIB", "RGB")),
    Format("gif-L", ".gif", by_pillow("GIF", "L")),
    Format("gif-P", ".gif", by_pillow("GIF", "P")),
    Format("gif-alpha", ".gif", by_pillow("GIF", "P+alpha")),
    Format("gif-animated", ".gif", animated("GIF")),
    *(Format(f"tga-{mode}", ".tga", by_pillow("TGA", mode)) for mode in ("L", "RGB", "RGBA")),
    Format("tga-rle", ".tga", by_pillow("TGA", "RGB", compression="tga_rle")),
    Format("pcx-RGB", ".pcx", by_pillow("PCX", "RGB")),
    Format("pcx-L", ".pcx", by_pillow("PCX", "L")),
    Format("sgi-RGB", ".rgb", by_pillow("SGI", "RGB")),
    Format("sgi-L", ".bw", by_pillow("SGI", "L")),
    Format("qoi-RGB", ".qoi", by_pillow("QOI", "RGB")),
    Format("qoi-RGBA", ".qoi", by_pillow("QOI", "RGBA")),
    Format("im-RGB", ".im", by_pillow("IM", "RGB")),
    Format("dds-RGB", ".dds", by_pillow("DDS", "RGB"), rare=True),
    Format("msp", ".msp", by_pillow("MSP", "1"), rare=True),
]
MODERN = [
    Format("webp-lossy", ".webp", webp),
    Format("webp-RGB", ".webp", by_pillow("WEBP", "RGB", lossless=True)),
    Format("webp-RGBA", ".webp", by_pillow("WEBP", "RGBA", lossless=True, exact=True)),
    Format("webp-animated", ".webp", animated("WEBP")),
    Format("avif", ".avif", avif, rare=True),
    Format("jp2-L", ".jp2", jpeg2000(1)),
    Format("jp2-RGB", ".jp2", jpeg2000(3)),
    Format("jp2-RGBA", ".jp2", jpeg2000(4)),
    Format("jp2-16", ".jp2", jpeg2000(1, "uint16")),
    Format("j2k-RGB", ".j2k", jpeg2000(3, codec="j2k")),
]
NETPBM = [
    *(Format(f"pnm-{magic}", suffix, pnm(magic)) for magic, suffix in zip(
        ("P1", "P2", "P3", "P4", "P5", "P6"), (".pbm", ".pgm", ".ppm", ".pbm", ".pgm", ".pnm"), strict=True)),
    *(Format(f"pgm-{high}", ".pgm", pnm("P5", high)) for high in (15, 1023, 4095, 65535)),
    Format("ppm-65535", ".ppm", pnm("P6", 65535)),
    Format("pgm-text-65535", ".pgm", pnm("P2", 65535)),
    Format("pfm", ".pfm", pfm),
]  # fmt: skip
DEPTHS = ("bool", "uint8", "uint16", "int16", "uint32", "int32", "float32", "int8", "float16", "float64", "uint64")
RARE = {"int8", "float16", "float64", "uint64", "uint32", "bool"}
TIFF = [
    *(
        Format(f"tif-{depth}-{order}", ".tif", tiff(depth, byteorder=sign), rare=depth in RARE)
        for depth in DEPTHS
        for order, sign in (("little", "<"), ("big", ">"))
    ),
    *(
        Format(f"tif-{depth}-{packing}", ".tiff", tiff(depth, compression=packing), rare=packing in ("lzma", "zstd"))
        for depth in ("uint8", "uint16", "int16", "float32")
        for packing in ("lzw", "deflate", "packbits", "lzma", "zstd")
    ),
    *(
        Format(
            f"tif-{depth}-predicted-{order}", ".tif", tiff(depth, compression="deflate", predictor=True, byteorder=sign)
        )
        for depth in ("uint8", "uint16", "float32")
        for order, sign in (("little", "<"), ("big", ">"))
    ),
    *(
        Format(f"tif-{depth}x{samples}-{plan}", ".tif", tiff(depth, samples, planarconfig=plan), rare=depth != "uint8")
        for depth in ("uint8", "uint16", "int16", "float32")
        for samples in (2, 3, 4, 5, 8, 13)
        for plan in ("contig", "separate")
    ),
    *(
        Format(f"tif-{depth}x{samples}-tiles", ".tif", tiff(depth, samples, tile=(16, 16), compression="lzw"))
        for depth in ("uint8", "uint16", "float32")
        for samples in ((1, 3) if depth == "uint8" else (1,))
    ),
    *(Format(f"tif-{depth}-bigtiff", ".tif", tiff(depth, bigtiff=True)) for depth in ("uint8", "uint16", "float32")),
    *(
        Format(f"tif-{depth}-white", ".tif", tiff(depth, photometric="miniswhite"), rare=depth == "bool")
        for depth in ("bool", "uint8", "uint16")
    ),
    Format("tif-strips", ".tif", tiff("uint8", 3, rowsperstrip=1)),
]
FORMATS = [*PNG, *JPEG, *PILLOW, *MODERN, *NETPBM, *TIFF]
