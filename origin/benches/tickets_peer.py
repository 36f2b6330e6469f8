"""Tickets as reportlab and qrcode make them: arguments are how many and the text of the code.

Prints tickets per second. The fonts are those of the PDF standard, which saves it the embedding.
"""

import io
import sys
import time

import qrcode
from reportlab.lib.pagesizes import A4
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen import canvas


def ticket(nth, text):
    code = qrcode.QRCode(error_correction=qrcode.constants.ERROR_CORRECT_M)
    code.add_data(f"{text}{nth}")
    picture = io.BytesIO()
    code.make_image().save(picture, "PNG")
    picture.seek(0)
    file = io.BytesIO()
    page = canvas.Canvas(file, pagesize=A4)
    page.setFillColorRGB(0.1, 0.15, 0.4)
    page.rect(0, 574, 595, 268, fill=1, stroke=0)
    page.setFillColorRGB(1, 1, 1)
    page.setFont("Helvetica-Bold", 36)
    page.drawString(48, 710, "Spain - Argentina")
    page.setFont("Helvetica", 14)
    for y, line in ((755, "2026 World Cup, Final"), (630, "Sunday, 19 July 2026 15:00")):
        page.drawString(48, y, line)
    page.setFillColorRGB(0, 0, 0)
    page.setFont("Helvetica-Bold", 54)
    for x, value in ((48, "104"), (214, "C"), (380, str(nth))):
        page.drawString(x, 468, value)
    page.setFont("Helvetica-Bold", 17)
    for y, line in ((310, "Lukasz Zolc"), (258, "7K3M-9QXD-20VH"), (206, f"JMDV-{nth}")):
        page.drawString(282, y, line)
    page.drawImage(ImageReader(picture), 48, 126, 210, 210)
    page.showPage()
    page.save()
    return file.getvalue()


def main():
    count, text = int(sys.argv[1]), sys.argv[2]
    ticket(0, text)
    began = time.perf_counter()
    for nth in range(count):
        ticket(nth, text)
    print(count / (time.perf_counter() - began))


main()
